"""What the account is worth at the last round's closes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from services.analytics.core.ledger import RoundFact, WalletFact
from services.trade.position import Position


@dataclass(frozen=True, slots=True)
class Mark:
    """Last close of a symbol and the market time of its round."""

    price: Decimal
    time: int
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Anchor:
    """A wallet balance that is known for a place in the stream; later flows come on top."""

    account: str
    time: int
    sequence: int
    wallet_balance: Decimal
    from_round: bool
    in_sample: bool = False

    def supersedes(self, other: Anchor | None) -> bool:
        """True when this one is to be used instead: a round over a snapshot, then the later."""
        return other is None or self.rank > other.rank

    @property
    def rank(self) -> tuple[bool, int, int]:
        """The anchor that ranks higher is the one to use."""
        return (self.from_round, self.time, self.sequence)


@dataclass(frozen=True, slots=True)
class ValuedPosition:
    """An open position at its mark; no mark before the first round after its entry."""

    position: Position
    mark: Decimal | None

    @property
    def unrealized_pnl(self) -> Decimal:
        """Profit at the mark, before commission; zero without a mark."""
        return Decimal(0) if self.mark is None else self.position.unrealized_pnl(self.mark)


@dataclass(frozen=True, slots=True)
class Portfolio:
    """Wallet, open positions and their value in the quote asset."""

    wallet_balance: Decimal
    positions: tuple[ValuedPosition, ...]
    time: int
    """Market time of the numbers; 0 before the first."""
    in_sample: bool = False

    @property
    def unrealized_pnl(self) -> Decimal:
        """Profit of the open positions at their marks."""
        return sum((p.unrealized_pnl for p in self.positions), Decimal(0))

    @property
    def total_value(self) -> Decimal:
        """Wallet plus unrealised profit."""
        return self.wallet_balance + self.unrealized_pnl


def rank_of(fact: RoundFact | WalletFact) -> tuple[bool, int, int]:
    """Return the rank of the anchor that a fact tells."""
    return (isinstance(fact, RoundFact), fact.time, fact.sequence)


def anchor_of(fact: RoundFact | WalletFact) -> Anchor | None:
    """Return the wallet that a round or an account snapshot tells; None when it tells none."""
    if fact.wallet_balance is None:
        return None
    return Anchor(
        account=fact.account,
        time=fact.time,
        sequence=fact.sequence,
        wallet_balance=fact.wallet_balance,
        from_round=isinstance(fact, RoundFact),
        in_sample=fact.in_sample if isinstance(fact, RoundFact) else False,
    )


def merge_marks(
    marks: Mapping[tuple[str, str], Mark], fact: RoundFact
) -> dict[tuple[str, str], Mark]:
    """Return the marks, by account and symbol, that a round changes."""
    changed: dict[tuple[str, str], Mark] = {}
    for symbol, price in fact.closes:
        known = marks.get((fact.account, symbol))
        if known is None or (known.time, known.sequence) < (fact.time, fact.sequence):
            changed[(fact.account, symbol)] = Mark(price, fact.time, fact.sequence)
    return changed


def value(
    anchors: Iterable[Anchor],
    flows_since: Mapping[str, Decimal],
    positions: Iterable[Position],
    marks: Mapping[tuple[str, str], Mark],
) -> Portfolio:
    """Value all accounts together.

    `flows_since` is the net of fills and funding after each account's anchor, by account, so that
    a position that closes between two rounds does not vanish from the value.
    """
    known = list(anchors)
    valued = tuple(_valued(p, marks) for p in positions if p.quantity)
    wallet = sum((a.wallet_balance for a in known), Decimal(0))
    return Portfolio(
        wallet_balance=wallet + sum(flows_since.values(), Decimal(0)),
        positions=valued,
        time=max((a.time for a in known), default=0),
        in_sample=any(a.in_sample for a in known) or any(p.position.in_sample for p in valued),
    )


def _valued(position: Position, marks: Mapping[tuple[str, str], Mark]) -> ValuedPosition:
    mark = marks.get((position.account, position.symbol))
    known = mark is not None and mark.time > position.opened_time
    return ValuedPosition(position, mark.price if mark is not None and known else None)
