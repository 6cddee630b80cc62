"""The loaded model and whether it may be trusted now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from services.ai.artifact import ArtifactRefused, LoadedModel, active_folder, fingerprint, load
from services.ai.core.answers import Policy
from services.ai.core.ensemble import make_gate
from services.ai.core.manifest import Manifest
from services.ai.fund_reader import FundReader
from services.kit.clock import Clock
from services.kit.health import Components
from services.kit.logs import get_logger
from services.kit.metrics import Metrics
from services.trade.fund_policy import FundPolicy

log = get_logger(__name__)

COMPONENT = "models"
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What the gate of a loaded model is made from."""

    floor: float | None
    ttl_seconds: int


class ModelSlot:
    """Holds the one loaded artifact; empty while the files on disk do not verify.

    A file that vanished or changed empties the slot, and one that verifies fills it again: what
    answers is always what lies there with its manifest.
    """

    def __init__(
        self,
        *,
        models: Path,
        gate: GateSettings,
        components: Components,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._models = models
        self._gate = gate
        self._components = components
        self._clock = clock
        self.loaded: LoadedModel | None = None
        self.changed = asyncio.Event()
        """Set whenever the slot was filled or emptied."""
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
    def manifest(self) -> Manifest | None:
        """Manifest of the loaded artifact."""
        return self.loaded.manifest if self.loaded else None

    def policy(self, manifest: Manifest, fund: FundReader, time: int) -> Policy:
        """Return what decides besides the models at a market time."""
        key = (manifest.sha256, fund.book.at(time))
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
        """Effective weights of the loaded artifact's models, as they were used last."""
        return self._shown[1]

    async def keep(self) -> None:
        """Load, and look again every two seconds, for ever."""
        while True:
            await self.refresh()
            await self._clock.sleep(_LOOK_SECONDS)

    async def refresh(self) -> None:
        """Load the active artifact if it is not the loaded one; empty the slot if refused."""
        try:
            folder = active_folder(self._models)
            held = self.loaded
            if held and held.folder == folder and held.fingerprint == fingerprint(folder):
                return
            found = await asyncio.to_thread(load, folder)
        except ArtifactRefused as refusal:
            self._empty(str(refusal))
            return
        self.loaded = found
        self.show(found.manifest, found.manifest.weights)
        self._components.set(COMPONENT, True)
        self.changed.set()
        log.info("model_loaded", version=found.manifest.version, sha256=found.manifest.sha256)

    def _empty(self, reason: str) -> None:
        # Said once a change, not every two seconds.
        if self.loaded is not None or reason not in "".join(self._components.reasons()):
            log.error("model_refused", reason=reason)
        self.loaded = None
        self._shown = ("", ())
        self._weights.clear()
        self._components.set(COMPONENT, False, reason)
        self.changed.set()
