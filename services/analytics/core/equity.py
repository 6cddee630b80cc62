"""The account's equity by hour: out of any order of rounds, the same curve."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from services.analytics.core.ledger import RoundFact

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class EquityHour:
    """One UTC hour of an account: its last round's equity, and the lowest and highest."""

    account: str
    hour: int
    """Start of the hour, market time in milliseconds."""
    time: int
    """Market time of the last round of the hour."""
    sequence: int
    equity: Decimal
    low: Decimal
    high: Decimal
    in_sample: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """Account and hour."""
        return (self.account, self.hour)


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """One point of the curve of one account or of several together."""

    time: int
    equity: Decimal
    low: Decimal
    high: Decimal


def hour_start(time: int) -> int:
    """Return the start of the hour that a round counts in.

    A round at a full hour ends the hour before: the equity at 00:00 is the day's last.
    """
    return (time - 1) // HOUR_MS * HOUR_MS


def hour_of(fact: RoundFact) -> EquityHour | None:
    """Return what one round tells of its hour; None when it does not tell the equity."""
    if fact.equity is None:
        return None
    return EquityHour(
        account=fact.account,
        hour=hour_start(fact.time),
        time=fact.time,
        sequence=fact.sequence,
        equity=fact.equity,
        low=fact.equity,
        high=fact.equity,
        in_sample=fact.in_sample,
    )


def tells_more(fact: RoundFact, known: EquityHour) -> bool:
    """True when a round changes what is known of its hour."""
    equity = fact.equity
    return equity is not None and (
        (fact.time, fact.sequence, equity) > (known.time, known.sequence, known.equity)
        or not known.low <= equity <= known.high
        or (fact.in_sample and not known.in_sample)
    )


def merge_hour(one: EquityHour, other: EquityHour | None) -> EquityHour:
    """Return both together: the later round's equity, the extremes of both."""
    if other is None:
        return one
    later = (one.time, one.sequence, one.equity) >= (other.time, other.sequence, other.equity)
    last = one if later else other
    return EquityHour(
        account=last.account,
        hour=last.hour,
        time=last.time,
        sequence=last.sequence,
        equity=last.equity,
        low=min(one.low, other.low),
        high=max(one.high, other.high),
        in_sample=one.in_sample or other.in_sample,
    )


def curve(hours: Iterable[EquityHour]) -> list[EquityPoint]:
    """Return the equity of all accounts together, by hour.

    An account without a round in an hour counts with its last known equity. The lows of several
    accounts need not have come together, so the sum is never higher than the true low.
    """
    known: dict[str, EquityHour] = {}
    points: dict[int, EquityPoint] = {}
    for hour in sorted(hours, key=lambda h: (h.hour, h.account)):
        known[hour.account] = hour
        parts = [h if h.hour == hour.hour else _still(h) for h in known.values()]
        points[hour.hour] = EquityPoint(
            time=max(h.time for h in known.values()),
            equity=sum((h.equity for h in parts), Decimal(0)),
            low=sum((h.low for h in parts), Decimal(0)),
            high=sum((h.high for h in parts), Decimal(0)),
        )
    return [points[hour] for hour in sorted(points)]


def _still(hour: EquityHour) -> EquityHour:
    return EquityHour(
        hour.account, hour.hour, hour.time, hour.sequence, hour.equity, hour.equity, hour.equity
    )
