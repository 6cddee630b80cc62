"""analytics' core as the ledger: fed by the facts of every commit, late, twice and out of order."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from services.analytics.core import ledger as an
from services.analytics.core.books import Books
from services.analytics.core.trades import TradeStatus, compute
from services.exec_risk.core import effects as fx
from services.trade.order import OrderPurpose
from services.trade.position import Position


class Ledger:
    """Everything that analytics would know of the account."""

    def __init__(self) -> None:
        self.books = Books()
        self.taken = 0

    def take(self, fact: an.Fact) -> None:
        """Take in one fact."""
        self.books.apply(fact)
        self.taken += 1

    @property
    def fills(self) -> dict[tuple[str, str], an.BookedFill]:
        """All fills by symbol and trade id."""
        return {(k[1], k[2]): f for k, f in self.books.trades.fills.items()}

    @property
    def funding(self) -> dict[str, an.BookedFunding]:
        """All settlements by their id."""
        return {k[2]: f for k, f in self.books.trades.funding.items()}

    def net(self) -> tuple[Decimal, dict[str, Decimal], list[str]]:
        """Return the profit of all closed trades, what is held by symbol, and trades that disagree
        with what exec_risk reported."""
        total, wrong = Decimal(0), list[str]()
        held: dict[str, Decimal] = {}
        trades = self.books.trades
        for position_id, holdings in trades.holdings().items():
            trade = compute(
                position_id, trades.facts.get(position_id), holdings.fills, holdings.funding
            )
            if trade is None:
                continue
            if not trade.agrees or trade.held_back or trade.status is TradeStatus.SETTLING:
                wrong.append(f"{position_id} is {trade.status}, held back {trade.held_back}")
            position = trade.position
            if trade.status is TradeStatus.CLOSED:
                total += position.net_pnl
            if position.quantity:
                signed = position.quantity * position.side.sign
                held[position.symbol] = held.get(position.symbol, Decimal(0)) + signed
        return total, held, wrong


def facts_of(changes: Sequence[fx.Change], account: str, first: int) -> list[tuple[str, an.Fact]]:
    """Return the facts of a commit under their message ids, numbered from `first`."""
    found: list[tuple[str, an.Fact]] = []
    for change in changes:
        number = first + len(found)
        match change:
            case fx.FillRecorded(fill=fill):
                purpose = change.purpose or OrderPurpose.EXIT
                booked = an.BookedFill(fill, change.position_id, purpose, number)
                found.append((f"fill.{fill.symbol}.{fill.trade_id}", booked))
            case fx.FundingPaid():
                paid = an.BookedFunding(
                    account,
                    change.symbol,
                    change.transaction_id,
                    change.position_id,
                    change.amount,
                    change.time,
                    number,
                )
                found.append((f"funding.{change.transaction_id}", paid))
            case fx.PositionOpened() | fx.PositionChanged() | fx.PositionClosed():
                p = change.position
                name = f"{type(change).__name__}.{p.position_id}.{p.version}"
                found.append((name, _position(p)))
            case fx.RoundDecided():
                fact = an.RoundFact(
                    account,
                    change.time,
                    change.wallet_balance,
                    tuple(sorted(change.closes.items())),
                    change.in_sample,
                    number,
                )
                found.append((f"round.{change.time}", fact))
            case fx.AccountSnapshot(published=True, wallet_balance=Decimal() as wallet):
                snapshot = an.WalletFact(account, change.time, wallet, number)
                name = f"account.{change.time}.{wallet}.{change.unrealized_pnl}"
                found.append((name, snapshot))
            case _:
                continue
    return found


def _position(p: Position) -> an.PositionFact:
    return an.PositionFact(
        position_id=p.position_id,
        version=p.version,
        account=p.account,
        symbol=p.symbol,
        side=p.side,
        closed=not p.open,
        opened_time=p.opened_time,
        leverage=p.leverage,
        signal_id=p.signal_id,
        trace_id=p.trace_id,
        model_version=p.entry_model,
        entry_confidence=p.entry_confidence,
        in_sample=p.in_sample,
        exit_reason=None if p.open else p.exit_reason,
        reported_net=p.net_pnl,
    )
