"""What an artifact is compared with: its manifest's word, or its own first window."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.analytics.core.learning.drift import Expected
from services.analytics.core.learning.spread import Quantity, Spread, from_quantiles
from services.analytics.core.learning.tally import Tally
from services.analytics.learning.views import LearningViews
from services.kit.bus.bus import BusUnavailable
from services.kit.bus.objects import ObjectDamaged, Objects
from services.kit.folders import BadFolder, unpack
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

_ENDLESS = 1e6
"""So many rows stand behind a manifest's quantiles that only the window's own number counts."""


@dataclass(frozen=True, slots=True)
class Reference:
    """How things were when the artifact was made."""

    spreads: Mapping[Quantity, Spread]
    expected: Mapping[str, Expected]
    shares: Mapping[str, float] = field(default_factory=dict)
    """Own share of each model in the ensemble; empty while it is not known."""


class References:
    """Known ones come from PostgreSQL, new ones are remembered there."""

    def __init__(self, views: LearningViews, objects: Objects) -> None:
        self._views = views
        self._objects = objects

    async def of(
        self,
        version: str,
        spreads: dict[Quantity, Spread],
        found: Mapping[str, Tally],
        shares: Mapping[str, float],
    ) -> Reference | None:
        """Return what an artifact's window is compared with; `shares` as they were in it.

        None when nothing is known yet: then this very window is what later ones are held against.
        """
        known = await self._views.references(version)
        if known:
            return Reference(known, *await self._views.expectations(version))
        told = await self._told(version)
        if told is not None:
            await self._views.remember(
                version, "manifest", told.spreads, told.expected, told.shares
            )
            return told
        own = {m: Expected(t.hit_rate, t.calibration_error) for m, t in found.items()}
        await self._views.remember(version, "first window", spreads, own, shares)
        return None

    async def _told(self, version: str) -> Reference | None:
        try:
            content = await self._objects.get(version)
            return None if content is None else read_reference(unpack(content)["manifest.json"])
        except (ObjectDamaged, BadFolder, BusUnavailable, ValueError, KeyError, TypeError) as error:
            log.warning("reference_not_read", version=version, error=str(error))
            return None


def read_reference(text: bytes) -> Reference | None:
    """Read a manifest; None when it tells of no reference. ValueError, KeyError: it is broken."""
    manifest = json.loads(text)
    told = manifest.get("reference")
    if not told:
        return None
    spreads = {
        Quantity(name): from_quantiles(Quantity(name), values, _ENDLESS)
        for name, values in told.items()
    }
    scores = manifest["metrics"]["walk_forward"]
    expected = {
        name: Expected(float(found["accuracy"]), float(found["calibration_error"]))
        for name, found in scores.items()
    }
    shares = dict(zip(manifest["models"], map(float, manifest["weights"]), strict=True))
    return Reference(spreads, expected, shares)
