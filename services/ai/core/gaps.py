"""Gaps in windows: when they are asked for, and from when on nobody is asked any more.

A function of the candles of a series alone, so that replicas that saw the same ask the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.ai.core.windows import Gap, SeriesKey

WAITS = (1, 2, 4, 4, 4)
"""Bars to wait for an answer to each question; then the gap is given up."""


class Outcome(StrEnum):
    """What becomes of a gap."""

    WANTED = "wanted"
    """The candles are to be asked for, now."""
    REPAIRED = "repaired"
    """They came."""
    PASSED = "passed"
    """The window has moved past them."""
    GIVEN_UP = "given_up"
    """They were asked for often enough; they may still come."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be said of a gap now."""

    outcome: Outcome
    series: SeriesKey
    gap: Gap
    asked: int
    """How often the candles were asked for, this time included."""
    time: int
    """Close of the candle that led to it, in milliseconds."""


@dataclass(slots=True)
class _Open:
    gap: Gap
    asked: int
    due: int
    """Market time in milliseconds of the next question, or of giving up."""
    given_up: bool = False


class GapBook:
    """The gaps that are open, by series."""

    def __init__(self) -> None:
        self._open: dict[SeriesKey, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, series: SeriesKey) -> bool:
        return series in self._open

    def given_up(self) -> dict[SeriesKey, Gap]:
        """Return the gaps that nobody is asked for any more."""
        return {series: held.gap for series, held in self._open.items() if held.given_up}

    def live(self, series: SeriesKey, gap: Gap | None, closes: int, bar: int) -> Step | None:
        """Take in what a series lacks after a live candle that closed at `closes`.

        `bar` is the length of a bar in milliseconds.
        """
        held = self._open.get(series)
        if gap is None:
            late = held is not None and held.gap.first <= closes - bar <= held.gap.last
            return self._end(series, Outcome.REPAIRED if late else Outcome.PASSED, closes)
        if held is None or gap.last > held.gap.last:
            # A new hole is asked for afresh, and older ones with it.
            held = self._open[series] = _Open(gap, 0, closes)
        held.gap = gap
        if held.given_up or closes < held.due:
            return None
        if held.asked == len(WAITS):
            held.given_up = True
            return Step(Outcome.GIVEN_UP, series, gap, held.asked, closes)
        held.due = closes + WAITS[held.asked] * bar
        held.asked += 1
        return Step(Outcome.WANTED, series, gap, held.asked, closes)

    def filled(self, series: SeriesKey, gap: Gap | None, closes: int) -> Step | None:
        """Take in what a series still lacks after a candle of its past came."""
        held = self._open.get(series)
        if gap is None:
            return self._end(series, Outcome.REPAIRED, closes)
        if held is not None:
            held.gap = gap
        return None

    def _end(self, series: SeriesKey, outcome: Outcome, closes: int) -> Step | None:
        held = self._open.pop(series, None)
        return None if held is None else Step(outcome, series, held.gap, held.asked, closes)
