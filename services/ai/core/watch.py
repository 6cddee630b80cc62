"""Which models may vote: one that says the same whatever it sees, or drifts, is excluded.

A function of the stored predictions and of market time alone, so that every replica, and a
backtest, comes to the same weights. Market time is cut into blocks; what a model said in a block
decides about it in the next, from two bars after the block's end on, when all answers are stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.ai.core.drift import BINS, DRIFT, Counts, bins_of, drifting
from services.ai.core.manifest import Manifest
from services.trade.times import timeframe_ms

BLOCK_BARS = 720
"""Bars of a block: half a day of minutes, long enough for both sides to come."""
LEAST_ROWS = 500
"""Answers without which a block says nothing."""
LARGEST_SHARE = 0.95
"""A model with a larger share of its votes on one side is degenerate."""
LEAST_DEVIATION = 1e-4
"""A model whose probabilities spread less is near-constant."""
_SETTLED_BARS = 2


_ONE = 1 << 20
"""A probability of 1 in the whole numbers that are summed: their sums are exact in any order."""

Rows = npt.NDArray[np.float64]


@dataclass(slots=True)
class _Tally:
    """What one model said of the candles of a block."""

    rows: int = 0
    ups: int = 0
    downs: int = 0
    sums: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    """Of p_down, p_up, and of their squares."""
    confidences: Counts = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))

    def add(self, rows: int, ups: int, downs: int, sums: Sequence[int], counts: Counts) -> None:
        self.rows += rows
        self.ups += ups
        self.downs += downs
        self.sums = [have + more for have, more in zip(self.sums, sums, strict=True)]
        self.confidences += counts

    @property
    def degenerate(self) -> str:
        """Why the model is degenerate; empty when it is not."""
        deviations = [
            math.sqrt(max(0, self.rows * self.sums[2 + i] - self.sums[i] ** 2)) / self.rows / _ONE
            for i in range(2)
        ]
        if max(deviations) < LEAST_DEVIATION:
            return "near_constant"
        return "one_sided" if max(self.ups, self.downs) > LARGEST_SHARE * self.rows else ""


class Change(NamedTuple):
    """A model whose share in the ensemble changed."""

    model: str
    weight: float
    reason: str
    """`near_constant`, `one_sided`, `drifting`, or `recovered`."""
    effective_from: int
    """Market time in milliseconds."""


class ModelWatch:
    """Follows the predictions of all replicas and tells the effective weights."""

    def __init__(self, *, block_bars: int = BLOCK_BARS, least_rows: int = LEAST_ROWS) -> None:
        self._bars, self._least = block_bars, least_rows
        self._version = ""
        self._step = 0
        self._begun = 0
        """Earliest close that was seen: a block that began before it was not seen whole."""
        self._tallies: dict[int, dict[str, _Tally]] = {}
        self._judged = -1
        self._excluded: dict[str, str] = {}
        """Reason by model."""
        self._changes: list[Change] = []
        self._told: tuple[int, tuple[float, ...]] = (-1, ())
        """Last answer, by market time: all candles of a round ask the same."""
        self._told_to: Manifest | None = None
        self.drift: dict[str, float] = {}
        """Unusual excess of each model's index over the middle one, in the last judged block."""

    def observe(
        self, version: str, timeframe: str, close_time: int, models: Sequence[str], said: Rows
    ) -> None:
        """Take what the models said of candles that closed at a market time.

        `said` [candles, models, 3] holds p_down, p_up and the effective weight.
        """
        if version != self._version:
            self._begin(version, timeframe, close_time)
        self._begun = min(self._begun, close_time)
        self._told = (-1, ())
        tallies = self._tallies.setdefault(self._block(close_time), {})
        sides = said[:, :, :2]
        ups = np.count_nonzero(sides[:, :, 1] > sides[:, :, 0], axis=0).tolist()
        downs = np.count_nonzero(sides[:, :, 0] > sides[:, :, 1], axis=0).tolist()
        whole = np.rint(sides * _ONE).astype(np.int64)
        sums = np.concatenate((whole.sum(axis=0), (whole * whole).sum(axis=0)), axis=1).tolist()
        counts = bins_of(sides.max(axis=2))
        votes = np.count_nonzero(said[:, :, 2], axis=0).tolist()
        rows = zip(models, ups, downs, sums, counts, votes, strict=True)
        for model, up, down, summed, counted, voted in rows:
            tallies.setdefault(model, _Tally()).add(len(said), up, down, summed, counted)
            if self._judged < 0 and voted < len(said):
                # Others, who saw the block before, have excluded it.
                self._excluded.setdefault(model, "excluded_before")

    def _begin(self, version: str, timeframe: str, close_time: int) -> None:
        self._version, self._step, self._begun = version, timeframe_ms(timeframe), close_time
        self._tallies.clear()
        self._excluded.clear()
        self._judged = -1

    def _block(self, close_time: int) -> int:
        """Return the block of a candle; one that closes at a block's end belongs to it."""
        return (close_time - self._step) // (self._bars * self._step)

    def weights(self, manifest: Manifest, close_time: int) -> tuple[float, ...]:
        """Return the shares with which a candle that closed at a market time is answered.

        Shares of 0 are excluded models; all are 0 when no model is left.
        """
        if self._told[0] == close_time and self._told_to is manifest:
            return self._told[1]
        if self._version == manifest.version and self._tallies:
            settled = close_time - _SETTLED_BARS * self._step
            self._judge(manifest, self._block(settled) - 1)
        self._told, self._told_to = (close_time, self._shares(manifest)), manifest
        return self._told[1]

    def _shares(self, manifest: Manifest) -> tuple[float, ...]:
        if not self._excluded or self._version != manifest.version:
            return manifest.weights
        left = [
            0.0 if name in self._excluded else weight
            for name, weight in zip(manifest.models, manifest.weights, strict=True)
        ]
        total = sum(left)
        return tuple(weight / total for weight in left) if total else tuple(left)

    def _judge(self, manifest: Manifest, last: int) -> None:
        for block in sorted(b for b in self._tallies if b <= last):
            tallies = self._tallies.pop(block)
            start = block * self._bars * self._step
            if self._begun > start + self._step or block <= self._judged:
                continue
            self._judged = block
            if max((t.rows for t in tallies.values()), default=0) >= self._least:
                found = self._found(tallies, manifest)
                self._exclude(manifest, found, start + (self._bars + _SETTLED_BARS) * self._step)

    def _found(self, tallies: dict[str, _Tally], manifest: Manifest) -> dict[str, str]:
        """Return the reason of each model that is to be excluded."""
        found = {name: tally.degenerate for name, tally in tallies.items() if tally.degenerate}
        counts = {n: t.confidences for n, t in tallies.items() if n not in found}
        self.drift = drifting(counts, manifest.usual_confidence, manifest.usual_drift)
        found.update((name, "drifting") for name, much in self.drift.items() if much > DRIFT)
        return found

    def _exclude(self, manifest: Manifest, found: dict[str, str], effective_from: int) -> None:
        before, self._excluded = self._excluded, found
        for name, weight in zip(manifest.models, self._shares(manifest), strict=True):
            if (name in before) != (name in found):
                reason = found.get(name, "recovered")
                self._changes.append(Change(name, weight, reason, effective_from))

    def take_changes(self) -> Sequence[Change]:
        """Return the changes since the last call, oldest first."""
        changes, self._changes = self._changes, []
        return changes

    @property
    def excluded(self) -> dict[str, str]:
        """Reason by excluded model."""
        return dict(self._excluded)
