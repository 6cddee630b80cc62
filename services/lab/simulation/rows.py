"""What the simulated database holds, and the book that is read back from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from services.exec_risk.core import effects as fx
from services.exec_risk.core.account.periods import Day
from services.exec_risk.core.account.results import of_position
from services.exec_risk.core.executions.volume_profile import VolumeProfile
from services.exec_risk.core.inputs import Command
from services.exec_risk.core.market import Quote
from services.exec_risk.core.orders.order_book import Orders
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.protection.trailing import Progress
from services.exec_risk.core.state import Book
from services.trade.execution import Execution
from services.trade.fund_policy import FundPolicy
from services.trade.order import Fill, Order
from services.trade.policy_book import PolicyBook
from services.trade.position import Position, SafetyLevel, TradingState


@dataclass(frozen=True, slots=True)
class Status:
    """What the leader tells the other replicas."""

    connected: bool
    ready: bool
    blocked_by: str
    counters: dict[str, float]


@dataclass(slots=True)
class Rows:
    """What the database holds."""

    token: int = 0
    owner: str = ""
    expires: float = 0.0
    taken_over: int = 0
    """How often another replica than the last one took the lease."""
    orders: dict[str, Order] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    cancels: set[str] = field(default_factory=set)
    plans: dict[str, fx.EntryPlan] = field(default_factory=dict)
    fills: dict[tuple[str, str], Fill] = field(default_factory=dict)
    funding: dict[str, fx.FundingPaid] = field(default_factory=dict)
    days: dict[str, Day] = field(default_factory=dict)
    account: fx.AccountSnapshot | None = None
    trading_state: TradingState = TradingState.ACTIVE
    latch: fx.Latch | None = None
    progress: dict[str, Progress] = field(default_factory=dict)
    executions: dict[str, Execution] = field(default_factory=dict)
    volumes: dict[str, VolumeProfile] = field(default_factory=dict)
    marks: dict[str, tuple[Any, int]] = field(default_factory=dict)
    quotes: dict[str, Quote] = field(default_factory=dict)
    safety: tuple[SafetyLevel, int] = (SafetyLevel.NORMAL, 0)
    """Level and the market time since which it holds."""
    requests: dict[str, tuple[Command, float]] = field(default_factory=dict)
    answers: dict[str, fx.Answer] = field(default_factory=dict)
    policies: list[FundPolicy] = field(default_factory=list)
    directives: dict[str, int] = field(default_factory=dict)
    """Deadlines of answered directives, by id."""
    status: Status | None = None
    away_until: float = 0.0
    """Virtual time until which nobody is answered."""
    away_since: float = 0.0

    def go_away(self, now: float, seconds: float) -> None:
        """Answer nobody for some virtual seconds."""
        if now >= self.away_until:
            self.away_since = now
        self.away_until = now + seconds

    def open_positions(self) -> dict[str, Position]:
        """Return open positions by symbol."""
        return {p.symbol: p for p in self.positions.values() if p.open}


def apply(rows: Rows, change: fx.Change) -> None:
    """Keep one change as the commit statement does: by version, and what is there stays."""
    match change:
        case fx.OrderChanged(order=order):
            old = rows.orders.get(order.client_order_id)
            if old is None or old.version < order.version:
                rows.orders[order.client_order_id] = order
        case fx.PositionOpened() | fx.PositionChanged() | fx.PositionClosed():
            position = change.position
            known = rows.positions.get(position.position_id)
            if known is None or known.version < position.version:
                rows.positions[position.position_id] = position
        case fx.FillRecorded(fill=fill):
            rows.fills.setdefault((fill.symbol, fill.trade_id), fill)
        case fx.FundingPaid():
            rows.funding.setdefault(change.transaction_id, change)
        case fx.StorePlan(plan=plan):
            rows.plans.setdefault(plan.position_id, plan)
        case fx.StoreCancel():
            rows.cancels.add(change.client_order_id)
        case fx.StoreDay():
            rows.days[change.day] = Day(
                change.day,
                change.start_equity,
                change.pnl,
                change.trades,
                change.opened,
                change.losses,
            )
        case fx.AccountSnapshot():
            rows.account = change
            rows.marks.update({s: (p, change.time) for s, p in change.prices.items()})
            rows.quotes.update({s: q for s, q in change.quotes.items() if s in change.prices})
        case fx.TradingStateChanged():
            rows.trading_state = change.state
        case fx.SafetyLevelChanged():
            rows.safety = (change.level, change.time)
        case fx.EmergencyStopped():
            rows.latch = change.latch
        case fx.EmergencyReset():
            rows.latch = None
        case fx.StoreProgress(progress=progress):
            old_progress = rows.progress.get(progress.position_id)
            if old_progress is None or old_progress.version < progress.version:
                rows.progress[progress.position_id] = progress
        case fx.ExecutionChanged(execution=execution):
            running = rows.executions.get(execution.execution_id)
            if running is None or running.version < execution.version:
                rows.executions[execution.execution_id] = execution
        case fx.StoreVolumes(profiles=profiles):
            rows.volumes.update({p.symbol: p for p in profiles})
        case fx.StoreFundPolicy(policy=fund_policy):
            rows.policies.append(fund_policy)
        case fx.DirectiveApplied():
            rows.directives.setdefault(change.directive_id, change.deadline)
        case fx.Answer():
            rows.answers.setdefault(change.request_id, change)
        case _:
            return


def read(rows: Rows, policy: Policy) -> Book:
    """Return the account as `book_reader` reads it."""
    book = Book(policy)
    if rows.account is not None:
        book.time, book.wallet = rows.account.time, rows.account.wallet_balance
        book.last_round, book.in_sample = rows.account.last_round, rows.account.in_sample
        book.begun_time, book.read_time = rows.account.begun_time, rows.account.read_time
        book.high_water = rows.account.high_water
    book.fund, book.directives = PolicyBook(rows.policies), dict(rows.directives)
    book.trading_state, book.latch = rows.trading_state, rows.latch
    book.orders = Orders(rows.orders)
    for order in rows.orders.values():
        key = (order.position_id, order.purpose)
        book.counts[key] = book.counts.get(key, 0) + 1
    book.leaving = {order.client_order_id for order in book.orders.live} & rows.cancels
    for position in rows.positions.values():
        if position.closed_time is None:
            book.positions[position.symbol] = position
        else:
            book.closed[position.position_id] = position
            book.results.add(of_position(position))
            last = book.last_closed.get(position.symbol, 0)
            book.last_closed[position.symbol] = max(last, position.closed_time)
    book.plans = dict(rows.plans)
    told = book.recognised_from()
    book.seen_fills = {key: fill.time for key, fill in rows.fills.items() if fill.time >= told}
    for fill in rows.fills.values():
        if fill.client_order_id in book.orders:
            paid = book.commissions.get(fill.client_order_id, 0)
            book.commissions[fill.client_order_id] = paid + fill.commission
    book.seen_funding = {key: paid.time for key, paid in rows.funding.items() if paid.time >= told}
    book.days = {d.day: replace(d) for d in rows.days.values()}
    book.prices.update(rows.marks)
    book.quotes = dict(rows.quotes)
    book.safety, book.safety_since = rows.safety
    for execution in rows.executions.values():
        book.executing.put(execution)
    book.executing.volumes = dict(rows.volumes)
    for position in book.positions.values():
        if position.position_id in rows.progress:
            book.progress[position.position_id] = rows.progress[position.position_id]
    return book
