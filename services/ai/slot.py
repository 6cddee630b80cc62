"""The loaded artifacts: which one answers which candle, and whether it may be trusted now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.ai.artifact import (
    ArtifactRefused,
    LoadedModel,
    active_folder,
    fingerprint,
    load,
    load_stored,
)
from services.ai.core.answers import Policy
from services.ai.core.ensemble import MIN_AGREEMENT, make_gate
from services.ai.core.manifest import Manifest
from services.ai.core.pointers import SHIPPED, Wanted
from services.ai.fund_reader import FundReader
from services.kit.clock import Clock
from services.kit.health import Components
from services.kit.observe.logs import get_logger
from services.kit.observe.metrics import Metrics
from services.trade.fund_policy import FundPolicy

log = get_logger(__name__)

COMPONENT = "models"
EXCLUDED = "ensemble"
_LOOK_SECONDS = 2.0
_AGAIN_SECONDS = 30.0
"""Between two trials of an artifact of the registry that was refused."""

Fetch = Callable[[str], Awaitable[bytes | None]]
"""Returns an artifact of the registry as it is stored; None when it holds none of this version."""


class UnknownArtifact(ArtifactRefused):
    """Neither the registry nor the folder that ships with the service has this version."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What the gate of a loaded model is made from."""

    floor: float | None
    ttl_seconds: int


@dataclass(frozen=True, slots=True)
class Place:
    """An artifact and the market time from which it answers."""

    effective_from: int
    model: LoadedModel


class ModelSlot:
    """Holds the artifacts that answer; empty while none of them verifies.

    A file that vanished or changed takes its artifact out, and one that verifies brings it back:
    what answers is always what lies there with its manifest. An artifact that is refused leaves
    the one before it in its place.
    """

    def __init__(
        self,
        *,
        models: Path,
        gate: GateSettings,
        components: Components,
        metrics: Metrics,
        clock: Clock,
        degraded: dict[str, str] | None = None,
    ) -> None:
        self._models = models
        self._gate = gate
        self._components = components
        self._clock = clock
        self._degraded = {} if degraded is None else degraded
        self._fetch: Fetch | None = None
        self._wanted: tuple[Wanted, ...] = (SHIPPED,)
        self._wanted_shadow: Wanted | None = None
        self._places: tuple[Place, ...] = ()
        self._turn = asyncio.Lock()
        self._settled = True
        """False from the moment in which other artifacts are wanted until they were tried."""
        self._newest_asked = 0
        self.shadow: Place | None = None
        """The artifact that answers beside the active one."""
        self.changed = asyncio.Event()
        """Set whenever the slot was filled or emptied."""
        self.refused: tuple[str, ...] = ()
        """Why artifacts that are wanted are not loaded."""
        self._tried: dict[str, tuple[float, ArtifactRefused]] = {}
        """When an artifact of the registry was refused, and why, by version."""
        self._policy: tuple[tuple[str, FundPolicy | None], Policy] | None = None
        """Last answer of `policy`: all candles of a round ask the same."""
        self._shown: tuple[str, tuple[float, ...]] = ("", ())
        self._weights = metrics.gauge(
            "model_weight",
            "Effective share of a model in the ensemble; 0 when excluded.",
            ["model"],
        )
        metrics.gauge("models_loaded", "1 while a verified artifact answers.").set_function(
            lambda: float(self.loaded is not None)
        )
        components.set(COMPONENT, False, "not loaded yet")

    @property
    def loaded(self) -> LoadedModel | None:
        """The artifact that answers the newest candle."""
        if not self._places:
            return None
        if not self._newest_asked:
            return self._places[-1].model
        return self._at(self._newest_asked)

    @property
    def manifest(self) -> Manifest | None:
        """Manifest of the artifact that answers the newest candle."""
        loaded = self.loaded
        return loaded.manifest if loaded else None

    def answers(self, close_time: int) -> LoadedModel | None:
        """Return the artifact that answers a candle that closed at a market time.

        None while that one is being loaded, or when none is loaded at all.
        """
        self._newest_asked = max(self._newest_asked, close_time)
        if not self._settled and any(w.effective_from <= close_time for w in self._awaited()):
            return None
        return self._at(close_time) if self._places else None

    def _awaited(self) -> Sequence[Wanted]:
        held = {(p.effective_from, p.model.manifest.version) for p in self._places}
        return [w for w in self._wanted if w.version and (w.effective_from, w.version) not in held]

    def _at(self, close_time: int) -> LoadedModel:
        chosen = self._places[0]
        for place in self._places:
            if place.effective_from <= close_time:
                chosen = place
        return chosen.model

    def policy(self, manifest: Manifest, fund: FundReader, time: int) -> Policy:
        """Return what decides besides the models at a market time."""
        key = (manifest.version, fund.book.at(time))
        if self._policy is None or self._policy[0] != key:
            gate = make_gate(manifest, fund.share(time), self._gate.floor)
            weights = fund.weights(manifest, time)
            found = Policy(gate=gate, ttl_ms=self._gate.ttl_seconds * 1000, weights=weights)
            self._policy = (key, found)
        return self._policy[1]

    def show(self, manifest: Manifest, weights: tuple[float, ...]) -> None:
        """Export the effective weights."""
        if self._shown == (manifest.version, weights):
            return
        self._shown = (manifest.version, weights)
        self._weights.clear()
        for name, weight in zip(manifest.models, weights, strict=True):
            self._weights.labels(name).set(weight)

    @property
    def weights(self) -> tuple[float, ...]:
        """Effective weights of the answering artifact's models, as they were used last."""
        manifest = self.manifest
        if manifest is not None and self._shown[0] != manifest.version:
            return manifest.weights
        return self._shown[1]

    def fetch_from(self, fetch: Fetch) -> None:
        """Take artifacts from the registry from now on, and those that ship where it has none."""
        self._fetch = fetch

    def want(self, signals: Sequence[Wanted], shadow: Wanted | None) -> None:
        """Have these artifacts answer; `refresh` loads them, the old ones answer meanwhile."""
        self._wanted, self._wanted_shadow = tuple(signals), shadow
        self._settled = False
        self._tried.clear()

    async def reload(self) -> None:
        """Try again at once what was refused before, and verify all files."""
        self._tried.clear()
        await self.refresh()

    async def keep(self) -> None:
        """Load, and look again every two seconds, for ever."""
        while True:
            await self.refresh()
            await self._clock.sleep(_LOOK_SECONDS)

    async def refresh(self) -> None:
        """Load what is wanted and not held, drop what does not verify any more."""
        async with self._turn:
            wanted, wanted_shadow = self._wanted, self._wanted_shadow
            places, refused = [], []
            for want in wanted:
                try:
                    places.append(Place(want.effective_from, await self._model(want)))
                except ArtifactRefused as refusal:
                    refused.append((want, str(refusal)))
            shadow = await self._find_shadow(wanted_shadow, refused)
            self._hold(tuple(places), shadow, refused)
            if (wanted, wanted_shadow) == (self._wanted, self._wanted_shadow):
                self._settled = True
        self.changed.set()

    async def _find_shadow(
        self, want: Wanted | None, refused: list[tuple[Wanted, str]]
    ) -> Place | None:
        if want is None or not want.version:
            return None
        try:
            return Place(want.effective_from, await self._model(want))
        except ArtifactRefused as refusal:
            refused.append((want, f"shadow: {refusal}"))
            return None

    async def _model(self, want: Wanted) -> LoadedModel:
        held = [*self._places, *([self.shadow] if self.shadow else [])]
        for model in (place.model for place in held):
            if self._is(model, want):
                return model
        found = await self._try(want.version)
        if want.sha256 and found.manifest.sha256 != want.sha256:
            text = f"{want.version}: its graph is {found.manifest.sha256[:12]}..., the pointer says"
            raise ArtifactRefused(f"{text} {want.sha256[:12]}...")
        return found

    async def _try(self, version: str) -> LoadedModel:
        """Obtain an artifact, one that was refused only now and then."""
        tried = self._tried.get(version)
        if tried is not None and self._clock.monotonic() - tried[0] < _AGAIN_SECONDS:
            raise tried[1]
        try:
            return await self.obtain(version)
        except ArtifactRefused as refusal:
            if version:  # what ships with the service is looked at each time
                self._tried[version] = (self._clock.monotonic(), refusal)
            raise

    def _is(self, model: LoadedModel, want: Wanted) -> bool:
        """Tell whether a held artifact is the wanted one, as it lies there now."""
        if model.folder is not None and model.fingerprint != fingerprint(model.folder):
            return False
        if not want.version:
            return model.folder == active_folder(self._models)
        known = model.manifest.version == want.version
        return known and want.sha256 in ("", model.manifest.sha256)

    async def obtain(self, version: str) -> LoadedModel:
        """Load and verify an artifact, the shipped one when `version` is empty, and hold it not.

        ArtifactRefused when it is not good, UnknownArtifact when there is none of this version.
        """
        if not version:
            return await asyncio.to_thread(load, active_folder(self._models))
        stored = None if self._fetch is None else await self._fetch(version)
        if stored is not None:
            return await asyncio.to_thread(load_stored, stored, version)
        folder = self._models / version
        if not folder.is_dir():
            raise UnknownArtifact(f"there is no artifact {version}")
        return await asyncio.to_thread(load, folder)

    def _hold(
        self, places: tuple[Place, ...], shadow: Place | None, refused: list[tuple[Wanted, str]]
    ) -> None:
        reasons = tuple(reason for _, reason in refused)
        if reasons != self.refused:  # said once a change, not every two seconds
            for reason in reasons:
                log.error("model_refused", reason=reason)
        self.refused = reasons
        before = {place.model.manifest.version for place in self._places}
        for model in (place.model for place in places):
            if model.manifest.version not in before:
                manifest = model.manifest
                log.info("model_loaded", version=manifest.version, sha256=manifest.sha256)
        self._places, self.shadow = places, shadow
        if not places:
            self._shown = ("", ())
            self._weights.clear()
            self._components.set(COMPONENT, False, reasons[0])
            return
        self._components.set(COMPONENT, True)
        if not self._shown[0]:
            newest = places[-1].model.manifest
            self.show(newest, newest.weights)
        # Without one that is no longer needed nothing is wrong.
        needed = [r for w, r in refused if w in (self._wanted[-1], self._wanted_shadow)]
        if needed:
            self._degraded[COMPONENT] = "; ".join(needed)
        else:
            self._degraded.pop(COMPONENT, None)


def tell_excluded(degraded: dict[str, str], excluded: Mapping[str, str], members: int) -> None:
    """Show excluded models as degraded health where they leave too few to agree on a signal.

    `members`: models of the artifact. It stands apart from what the slot itself says, which is
    looked at anew every two seconds.
    """
    degraded.pop(EXCLUDED, None)
    if (members - len(excluded)) / members < MIN_AGREEMENT:
        said = ", ".join(f"{model} {why}" for model, why in sorted(excluded.items()))
        degraded[EXCLUDED] = f"excluded: {said}"
