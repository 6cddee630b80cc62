"""What the RPCs on models do: deploy, roll back, list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from quantum.ai.v1 import ai_service_pb2 as pb
from quantum.ai.v1 import registry_pb2

from services.ai.artifact import ArtifactRefused, LoadedModel
from services.ai.core import pointers
from services.ai.core.artifact_summary import Summary, read_summary, summary_of
from services.ai.core.manifest import BadManifest, parse_manifest
from services.ai.core.pointers import NotActive, NothingBefore, Pointer, Stage
from services.ai.core.promotion_gate import refusals
from services.ai.pointer_codec import artifact_to_pb, pointer_to_pb, stage_from_pb
from services.ai.registry import PointerMoved, Registry
from services.ai.slot import ModelSlot, UnknownArtifact
from services.kit.bus.bus import BusRefused, BusUnavailable
from services.kit.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from services.kit.observe.logs import get_logger
from services.trade.times import timeframe_ms

log = get_logger(__name__)

_NOTICE_SECONDS = 3.0
"""What the other replicas get to hear of a change and to load what it names."""
_TRIALS = 5
_NOBODY = "operator"


class Deployment:
    """Changes pointers after everything that they name was verified."""

    def __init__(
        self,
        *,
        registry: Registry,
        slot: ModelSlot,
        models: Path,
        timeframes: Callable[[], set[str]],
    ) -> None:
        """`timeframes` tells of which timeframes there are candles; empty: not known yet."""
        self._registry = registry
        self._slot = slot
        self._models = models
        self._timeframes = timeframes
        self._shipped: dict[str, Summary] | None = None

    @property
    def running(self) -> str:
        """Version that makes the signals now; empty when none is loaded."""
        return self._slot.manifest.version if self._slot.manifest else ""

    async def deploy(self, request: pb.DeployModelRequest) -> tuple[Pointer, bool]:
        """Put an artifact to a stage; the pointer as it is now, and whether it changed.

        NotFound for an unknown version; FailedPrecondition, with what failed, for one that does
        not verify, reads candles that there are none of, or does not beat the baselines.
        """
        stage = stage_from_pb(request.stage)
        if not request.version and stage is Stage.ACTIVE:
            raise InvalidArgument.of("version", "an active artifact must be named")
        model: LoadedModel | None = None
        for _ in range(_TRIALS):
            held = self._registry.pointer(stage)
            if held is not None and held.version == request.version:
                return held, False
            if request.version and model is None:
                model = await self._verified(request, stage)
                continue  # the pointer may have moved meanwhile
            wanted = pointers.deployed(
                held,
                version=request.version,
                sha256=model.manifest.sha256 if model else "",
                running=self.running if stage is Stage.ACTIVE else "",
                effective_from=self._effective_from(),
                changed_by=request.changed_by or _NOBODY,
                reason=request.reason,
            )
            if wanted is None:
                return self._as_it_is(request), False
            if await self._write(stage, wanted):
                log.info("model_deployed", stage=stage, version=wanted.version)
                return wanted, True
        raise Unavailable("the pointer keeps moving: ask again", reason="POINTER_MOVED")

    def _as_it_is(self, request: pb.DeployModelRequest) -> Pointer:
        """Return what a pointer to the shipped artifact would say, which answers without one."""
        sha256 = self._slot.manifest.sha256 if self._slot.manifest and request.version else ""
        return Pointer(request.version, sha256, "", 0, "", "it answers without being deployed")

    async def _verified(self, request: pb.DeployModelRequest, stage: Stage) -> LoadedModel:
        version = request.version
        model = await self._obtain(version)
        manifest = model.manifest
        known = self._timeframes()
        if known and manifest.timeframe not in known:
            text = f"{version} reads candles of {manifest.timeframe}; here are {sorted(known)}"
            raise FailedPrecondition(text, reason="OTHER_TIMEFRAME")
        gated = stage is Stage.ACTIVE and not request.override_gate
        if gated and (found := refusals(manifest.metrics)):
            text = f"{version} does not pass the promotion gate: {'; '.join(found)}"
            raise FailedPrecondition(text, reason="PROMOTION_GATE")
        return model

    async def _obtain(self, version: str) -> LoadedModel:
        try:
            return await self._slot.obtain(version)
        except UnknownArtifact as error:
            text = f"{error}; `qt models list` shows those that are, `qt models add` stores one"
            raise NotFound(text, reason="NO_ARTIFACT", metadata={"version": version}) from error
        except ArtifactRefused as error:
            text = f"{version} does not verify: {error}"
            raise FailedPrecondition(text, reason="ARTIFACT_REFUSED") from error

    async def rollback(self, request: pb.RollbackModelRequest) -> tuple[Pointer, bool]:
        """Take the active artifact away; the pointer as it is now, and whether it changed.

        FailedPrecondition when another one is active, nothing was active before, or what was does
        not verify any more.
        """
        for _ in range(_TRIALS):
            history = self._registry.history(Stage.ACTIVE)
            held = history[-1] if history else None
            if held is not None and held.rolled_back_version == request.version:
                return held, False
            try:
                target = pointers.rollback_target(history, request.version)
            except NotActive as error:
                raise FailedPrecondition(str(error), reason="NOT_ACTIVE") from error
            except NothingBefore as error:
                raise FailedPrecondition(str(error), reason="NOTHING_BEFORE") from error
            model = await self._obtain(target)
            wanted = pointers.rolled_back(
                history,
                sha256=model.manifest.sha256,
                effective_from=self._effective_from(),
                changed_by=request.changed_by or _NOBODY,
                reason=request.reason,
            )
            if await self._write(Stage.ACTIVE, wanted):
                log.warning("model_rolled_back", taken=request.version, version=wanted.version)
                return wanted, True
        raise Unavailable("the pointer keeps moving: ask again", reason="POINTER_MOVED")

    async def _write(self, stage: Stage, pointer: Pointer) -> bool:
        try:
            await self._registry.write(stage, pointer)
        except PointerMoved:
            return False
        except (BusUnavailable, BusRefused) as error:
            raise Unavailable(f"the pointer cannot be set: {error}", reason="BUS") from error
        return True

    def _effective_from(self) -> int:
        manifest = self._slot.manifest
        step = timeframe_ms(manifest.timeframe if manifest else "1m")
        registry = self._registry
        if not registry.market_time:
            text = "no candle has closed yet, so that no market time can be said: ask again"
            raise FailedPrecondition(text, reason="NO_MARKET_TIME")
        return pointers.effective_after(registry.market_time, step, registry.pace, _NOTICE_SECONDS)

    async def artifacts(self) -> list[registry_pb2.Artifact]:
        """Return all artifacts by version: those of the registry and those that ship with us."""
        if self._shipped is None:
            self._shipped = await asyncio.to_thread(_shipped, self._models)
        stored = self._registry.stored
        summaries = self._shipped | {v: read_summary(o.metadata) for v, o in stored.items()}
        active = self._registry.history(Stage.ACTIVE)
        shadow = self._registry.pointer(Stage.SHADOW)
        return [
            artifact_to_pb(
                version,
                pointers.stage_of(version, active, shadow, self.running),
                summaries[version],
                stored.get(version),
            )
            for version in sorted(summaries)
        ]

    def pointer(self, stage: Stage) -> registry_pb2.ModelPointer | None:
        """Return the pointer of a stage; None when it names nothing."""
        held = self._registry.pointer(stage)
        return pointer_to_pb(held) if held is not None and held.version else None


def _shipped(models: Path) -> dict[str, Summary]:
    found = {}
    for file in sorted(models.glob("*/manifest.json")):
        try:
            manifest = parse_manifest(file.read_bytes())
        except (OSError, BadManifest) as error:
            log.warning("manifest_unreadable", file=str(file), reason=str(error))
            continue
        found[manifest.version] = summary_of(manifest)
    return found
