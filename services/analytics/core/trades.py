"""Trades out of events: every order and any repetition of the events gives the same trades.

What is known is a set of fills and settlements by their ids and, per position, the fact with the
highest version. Each trade is computed from these alone, so arrival cannot matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from services.analytics.core.ledger import (
    BookedFill,
    BookedFunding,
    Fact,
    FillKey,
    FundingKey,
    PositionFact,
)
from services.trade.order import Fill
from services.trade.position import Position, PositionSide, realized_of
from services.trade.values import with_values

_ZERO = Decimal(0)
_PARTIAL = Decimal("1e-16")
"""Resolution of the profit of a part; the profit of a whole position is exact."""


class TradeStatus(StrEnum):
    """Where a trade stands."""

    OPEN = "open"
    SETTLING = "settling"
    """Reported closed, but the ledger does not hold all of its fills yet."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Trade:
    """One position by the ledger's fills."""

    position: Position
    status: TradeStatus
    version: int
    """Version of the fact that it rests on; 0 before the first."""
    reported_net: Decimal
    initial_stop: Decimal | None = None
    """Price of the first stop; None when none was told."""
    held_back: int = 0
    """Exit fills that exceed the entries known so far: an entry fill is still to come."""

    @property
    def agrees(self) -> bool:
        """False when exec_risk reported another net profit for the closed trade."""
        return self.status is not TradeStatus.CLOSED or self.reported_net == self.position.net_pnl


@dataclass(slots=True)
class Projection:
    """Everything that trades are computed from; the whole ledger or the touched part of it."""

    fills: dict[FillKey, BookedFill] = field(default_factory=dict)
    funding: dict[FundingKey, BookedFunding] = field(default_factory=dict)
    facts: dict[str, PositionFact] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    """Positions that changed since the projection was made or loaded."""

    def apply(self, fact: Fact) -> None:
        """Take in one fact; facts that are not about positions change nothing here."""
        match fact:
            case BookedFill():
                self._book(self.fills, fact.key, fact)
            case BookedFunding():
                self._book(self.funding, fact.key, fact)
            case PositionFact():
                self.touched.add(fact.position_id)
                known = self.facts.get(fact.position_id)
                self.facts[fact.position_id] = fact if known is None else _merged(fact, known)

    def _book(self, table: dict[FillKey, _Booked], key: FillKey, booked: _Booked) -> None:
        known = table.get(key)
        if known is not None:
            self.touched.add(known.position_id)
        self.touched.add(booked.position_id)
        if known is None or _booked_rank(booked) > _booked_rank(known):
            table[key] = booked

    def holdings(self) -> dict[str, Holdings]:
        """Return all fills and settlements by position; `` holds those without one."""
        grouped: dict[str, Holdings] = {"": Holdings()}
        for position_id in self.facts:
            grouped.setdefault(position_id, Holdings())
        for fill in self.fills.values():
            grouped.setdefault(fill.position_id, Holdings()).fills.append(fill)
        for funding in self.funding.values():
            grouped.setdefault(funding.position_id, Holdings()).funding.append(funding)
        return grouped

    def trade(self, position_id: str) -> Trade | None:
        """Compute one trade; None when neither fills nor facts name it."""
        held = self.holdings().get(position_id, Holdings())
        return compute(position_id, self.facts.get(position_id), held.fills, held.funding)


@dataclass(slots=True)
class Holdings:
    """Fills and settlements of one position."""

    fills: list[BookedFill] = field(default_factory=list)
    funding: list[BookedFunding] = field(default_factory=list)


_Booked = TypeVar("_Booked", BookedFill, BookedFunding)


def _booked_rank(booked: BookedFill | BookedFunding) -> tuple[bool, str, int]:
    # An id that comes with two contents is a repair: the one that names its position is newer.
    # The text makes the choice total, so that it cannot depend on arrival.
    return (booked.position_id != "", repr(replace(booked, sequence=0)), -booked.sequence)


def _merged(one: PositionFact, other: PositionFact) -> PositionFact:
    """Return the later fact with the earlier stop: later stops have moved with the price."""
    later = one if _supersedes(one, other) else other
    stops = [(f.stop_version, f.initial_stop) for f in (one, other) if f.initial_stop is not None]
    if not stops:
        return later
    version, price = min(stops)
    if (later.stop_version, later.initial_stop) == (version, price):
        return later
    return with_values(later, initial_stop=price, stop_version=version)


def _supersedes(fact: PositionFact, known: PositionFact) -> bool:
    ranks = (fact.version, fact.closed), (known.version, known.closed)
    # The text makes the choice total; it is costly, so it is made for a tie only.
    return _text(fact) > _text(known) if ranks[0] == ranks[1] else ranks[0] > ranks[1]


def _text(fact: PositionFact) -> str:
    return repr(replace(fact, initial_stop=None, stop_version=0))


def compute(
    position_id: str,
    fact: PositionFact | None,
    fills: Iterable[BookedFill],
    funding: Iterable[BookedFunding],
) -> Trade | None:
    """Compute a trade from all that is known of its position."""
    ordered = sorted(fills, key=_book_order)
    if fact is None and not ordered:
        return None
    sums = _Sums(fact.side if fact else ordered[0].position_side)
    held_back = sum([not sums.add(booked.fill) for booked in ordered])
    funding_paid = sum([f.amount for f in funding], _ZERO)
    flat = sums.entry_quantity > 0 and sums.entry_quantity == sums.exit_quantity and not held_back
    told_closed = fact is not None and fact.closed
    closed_time = max([f.fill.time for f in ordered]) if told_closed and flat else None
    if closed_time is not None:
        status = TradeStatus.CLOSED
    else:
        status = TradeStatus.SETTLING if told_closed else TradeStatus.OPEN
    return Trade(
        position=_position(position_id, fact, ordered, sums, funding_paid, closed_time),
        status=status,
        version=fact.version if fact else 0,
        reported_net=fact.reported_net if fact else _ZERO,
        initial_stop=fact.initial_stop if fact else None,
        held_back=held_back,
    )


def _book_order(booked: BookedFill) -> tuple[bool, int, str]:
    # Entries first: sums do not depend on the order, and an exit needs something to close.
    return (not booked.entry, booked.fill.time, booked.fill.trade_id)


def _position(
    position_id: str,
    fact: PositionFact | None,
    fills: list[BookedFill],
    sums: _Sums,
    funding: Decimal,
    closed_time: int | None,
) -> Position:
    """Return the position that fills make; what they do not say is the fact's."""
    known = fact or _told_by(position_id, fills[0])
    return Position(
        position_id=position_id,
        account=known.account,
        symbol=known.symbol,
        side=known.side,
        opened_time=min([f.fill.time for f in fills], default=known.opened_time),
        leverage=known.leverage,
        signal_id=known.signal_id,
        trace_id=known.trace_id,
        entry_confidence=known.entry_confidence,
        entry_model=known.model_version,
        in_sample=known.in_sample,
        entry_quantity=sums.entry_quantity,
        entry_cost=sums.entry_cost,
        exit_quantity=sums.exit_quantity,
        exit_cost=sums.exit_cost,
        commission=sums.commission,
        funding=funding,
        closed_time=closed_time,
        exit_reason=known.exit_reason,
        version=1 + sums.applied,
    )


def _told_by(position_id: str, first: BookedFill) -> PositionFact:
    """Return what the first fill tells of a position before exec_risk said anything of it."""
    return PositionFact(
        position_id=position_id,
        version=0,
        account=first.fill.account,
        symbol=first.fill.symbol,
        side=first.position_side,
        closed=False,
        opened_time=first.fill.time,
    )


@dataclass(slots=True)
class _Sums:
    """What `Position.with_fill` adds up, without a new position for each fill."""

    side: PositionSide
    entry_quantity: Decimal = _ZERO
    entry_cost: Decimal = _ZERO
    exit_quantity: Decimal = _ZERO
    exit_cost: Decimal = _ZERO
    commission: Decimal = _ZERO
    applied: int = 0

    def add(self, fill: Fill) -> bool:
        """Add a fill; False for an exit that is larger than what is held: it stays out."""
        if fill.side is self.side.entry_side:
            self.entry_quantity += fill.quantity
            self.entry_cost += fill.price * fill.quantity
        elif fill.quantity <= self.entry_quantity - self.exit_quantity:
            self.exit_quantity += fill.quantity
            self.exit_cost += fill.price * fill.quantity
        else:
            return False
        self.commission += fill.commission
        self.applied += 1
        return True

    @property
    def realized(self) -> Decimal:
        """The position's profit so far, before commission and funding."""
        return realized_of(
            self.side, self.entry_quantity, self.entry_cost, self.exit_quantity, self.exit_cost
        )


def realized_by_fill(fills: Iterable[BookedFill]) -> dict[FillKey, Decimal]:
    """Split a position's gross profit over its fills, each on the day it was made.

    The shares add up to the position's profit exactly: each is the difference of two running
    results, and the last running result is the position's own.
    """
    shares: dict[FillKey, Decimal] = {}
    ordered = sorted(fills, key=lambda f: (f.fill.time, not f.entry, f.fill.trade_id))
    if not ordered:
        return shares
    sums, before = _Sums(ordered[0].position_side), _ZERO
    for booked in ordered:
        if not sums.add(booked.fill):
            shares[booked.key] = _ZERO
            continue
        after = sums.realized
        if sums.entry_quantity != sums.exit_quantity:
            after = after.quantize(_PARTIAL)
        shares[booked.key] = after - before
        before = after
    return shares


def shares_of(position_id: str, fills: Iterable[BookedFill]) -> dict[FillKey, Decimal]:
    """Share of each fill in the gross profit; without a position, what the exchange booked."""
    if position_id:
        return realized_by_fill(fills)
    return {f.key: f.fill.realized_pnl for f in fills}
