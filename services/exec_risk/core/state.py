"""The account as the core knows it, and the buffer of what it has decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.exec_risk.core.account.periods import Day, Round
from services.exec_risk.core.account.results import Results
from services.exec_risk.core.account.worth import Valuation
from services.exec_risk.core.counted import Counted
from services.exec_risk.core.effects import AccountSnapshot, Effect, EntryPlan, StoreDay
from services.exec_risk.core.exchange_events import OrderReport
from services.exec_risk.core.executions.execution_book import ExecutionBook
from services.exec_risk.core.facts import Alert, Latch
from services.exec_risk.core.market import Quote
from services.exec_risk.core.orders.order_book import Orders
from services.exec_risk.core.policy import Gates, Policy
from services.exec_risk.core.protection.trailing import Progress, Ride
from services.trade.execution import Execution
from services.trade.filters import SymbolFilters
from services.trade.fund_policy import Directive
from services.trade.order import Fill, Order, OrderPurpose
from services.trade.policy_book import PolicyBook
from services.trade.position import Position, SafetyLevel, TradingState
from services.trade.times import DAY_MS, HOUR_MS, day_start, utc_day

KEEP_MS = 2 * DAY_MS
"""How long final orders and fills are kept in memory to recognise what comes late, at least."""


@dataclass(slots=True)
class Book:
    """Everything that decisions rest on. It changes only inside `Trader.handle`."""

    policy: Policy
    time: int = 0
    """Market time: the newest that any event carried."""
    gates: Gates = field(default_factory=Gates)
    connected: bool = True
    """True while the user stream is up."""
    trading_state: TradingState = TradingState.ACTIVE
    latch: Latch | None = None
    """Set by an emergency stop: no entries until a person resets it."""
    wallet: Decimal | None = None
    high_water: Decimal | None = None
    """Highest equity so far; drawdown is measured from it."""
    filters: dict[str, SymbolFilters] = field(default_factory=dict)
    fund: PolicyBook = field(default_factory=PolicyBook)
    """The fund's policy: the version that holds and those that will."""
    directives: dict[str, int] = field(default_factory=dict)
    """Deadlines of the directives that were answered, by id: none is carried out twice."""
    directives_waiting: dict[str, Directive] = field(default_factory=dict)
    """Directives whose time has not come, by id; they are told again after a restart."""
    leverage: dict[str, int] = field(default_factory=dict)
    """Leverage that a read-back has confirmed, by symbol."""
    prices: Counted[str, tuple[Decimal, int]] = field(default_factory=Counted)
    """Last price and its market time, by symbol."""
    quotes: dict[str, Quote] = field(default_factory=dict)
    """Best bid and ask and funding rate, by symbol."""
    priced: int = 0
    """Market time of the newest price report."""
    results: Results = field(default_factory=Results)
    safety: SafetyLevel = SafetyLevel.NORMAL
    safety_since: int = 0
    """Market time at which the safety level began."""
    positions: Counted[str, Position] = field(default_factory=Counted)
    """Open positions by symbol."""
    begun_time: int = 0
    """Market time of the first reading: its wallet holds what was filled and settled until then."""
    read_time: int = 0
    """Market time of the last full reading of the exchange; nothing before it was missed."""
    orders: Orders = field(default_factory=Orders)
    """Orders by client order id: all that are not final, and the final ones of late."""
    executing: ExecutionBook = field(default_factory=ExecutionBook)
    plans: dict[str, EntryPlan] = field(default_factory=dict)
    """Plans by position id."""
    counts: dict[tuple[str, OrderPurpose], int] = field(default_factory=dict)
    """How many orders of a purpose a position has had: the next one's number."""
    seen_fills: dict[tuple[str, str], int] = field(default_factory=dict)
    """Market time of applied fills by (symbol, trade id)."""
    seen_funding: dict[str, int] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    """How far the protection of positions has come, by position id."""
    commissions: dict[str, Decimal] = field(default_factory=dict)
    """Commission so far by client order id."""
    announced: dict[str, OrderReport] = field(default_factory=dict)
    """Final reports whose fills have not all come yet."""
    announced_ticks: int = 0
    cancelling: set[str] = field(default_factory=set)
    """Client order ids whose cancel is on its way."""
    unanswered: set[str] = field(default_factory=set)
    """Client order ids whose cancel was sent and has no answer, or one that leads to asking for the
    order: no other cancel is sent before that question is answered too."""
    leaving: set[str] = field(default_factory=set)
    """Client order ids whose cancel has no answer: it may still arrive, until they have ended.
    After a restart that is every live order whose cancel was ever asked for."""
    at_rest: dict[str, tuple[object, ...]] = field(default_factory=dict, repr=False, compare=False)
    """What was seen, by symbol, when a position's protection lacked nothing: nothing of it is told
    or kept, the same sight only need not be looked at twice."""
    rides: dict[str, tuple[Position, EntryPlan, SymbolFilters, Ride]] = field(
        default_factory=dict, repr=False, compare=False
    )
    """What decides where a position's stop stands, by symbol, and what it was computed from."""
    valuation: Valuation = field(default_factory=Valuation, repr=False, compare=False)
    exit_hold: set[str] = field(default_factory=set)
    """Positions whose exit was refused; tried again at the next tick."""
    drift: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    """Quantities here and there, by symbol, that one reading of the exchange found to differ."""
    wallet_drift: Decimal | None = None
    """What the wallet lacked at the last reading of the exchange."""
    closed: dict[str, Position] = field(default_factory=dict)
    """Positions closed of late, by id: a late entry fill opens the same position again."""
    last_closed: dict[str, int] = field(default_factory=dict)
    """Market time of the last close by symbol."""
    days: dict[str, Day] = field(default_factory=dict)
    rounds: dict[int, Round] = field(default_factory=dict)
    last_round: int = 0
    """Market time of the last decided round; earlier ones are not decided again."""
    in_sample: bool = False
    suspected: frozenset[tuple[str, str, str]] = frozenset()
    """Differences that the last verifying reading found: kind, symbol, key."""
    reported: set[tuple[str, str, str]] = field(default_factory=set)
    """Differences that a person was told of and that last."""
    asks: dict[str, bool] = field(default_factory=dict)
    """Who waits for a comparison, by request id; True to have it repaired."""
    failed: list[str] = field(default_factory=list)
    """Exceptions that were kept to one symbol, for the shell to tell."""
    out: list[Effect] = field(default_factory=list)

    def emit(self, effect: Effect) -> None:
        """Add to what this step decides."""
        self.out.append(effect)

    def alert(
        self, severity: str, kind: str, message: str, *, symbol: str = "", action: str = ""
    ) -> None:
        """Tell a person."""
        self.emit(
            Alert(
                severity,
                kind,
                message,
                self.time,
                symbol,
                action,
                len(self.positions),
                self.gross_exposure(),
            )
        )

    def price(self, symbol: str) -> Decimal | None:
        """Return the last price."""
        found = self.prices.get(symbol)
        return found[0] if found else None

    def last_price(self, symbol: str) -> Decimal | None:
        """Return the last price, else the average entry of the symbol's position."""
        position = self.positions.get(symbol)
        return self.price(symbol) or (position.entry_price if position else None)

    def mark(self, position: Position) -> Decimal:
        """Return the price that values a position: the last one, else its entry."""
        found = self.price(position.symbol)
        return found if found is not None else position.entry_price or Decimal(0)

    def unrealized(self) -> Decimal:
        """Return the open positions' profit at the last prices."""
        return self.valuation.of(self.positions, self.prices).unrealized

    def equity(self) -> Decimal | None:
        """Return wallet plus unrealised profit; None while the wallet is not known."""
        return None if self.wallet is None else self.wallet + self.unrealized()

    def drawdown(self) -> Decimal | None:
        """Return the lost fraction of the highest equity; None while equity is not known."""
        equity, peak = self.equity(), self.high_water
        if equity is None or peak is None or peak <= 0:
            return None
        return max((peak - equity) / peak, Decimal(0))

    def past(self, fill: Fill) -> bool:
        """Tell whether the wallet of the first reading holds a fill; one of our orders is news."""
        return fill.time <= self.begun_time and fill.client_order_id not in self.orders

    def unread_from(self) -> int:
        """Return the market time from which a reading must tell fills and funding.

        The user stream may have been down since the last reading, however far the market went.
        """
        times = [min(self.time, self.read_time or self.time) - HOUR_MS]
        if not self.read_time:
            times += [order.decided_time for order in self.live_orders()]
        return max(min(times), 0)

    def recognised_from(self) -> int:
        """Return the market time from which a fill or funding that is told again is recognised.

        That is never after `unread_from`: what a reading tells anew would be booked twice.
        """
        return max(min(self.time - KEEP_MS, self.unread_from()), 0)

    def live_orders(self, symbol: str | None = None) -> list[Order]:
        """Return orders that are not final, in the order in which they were made."""
        return [o for o in self.orders.live if symbol is None or o.symbol == symbol]

    def orders_of(self, position_id: str, purpose: OrderPurpose) -> list[Order]:
        """Return a position's live orders of one purpose, oldest first."""
        return [
            o for o in self.orders.of(position_id) if o.purpose is purpose and not o.state.final
        ]

    def reserved(self) -> Decimal:
        """Return the notional that entries on their way may still take.

        It is derived from orders and executions themselves, so it cannot outlive them.
        """
        total = Decimal(0)
        for order in self.orders.entries:
            total += self.pending_notional(order)
        for execution in self.executing.entering():
            total += self.unsent_notional(execution)
        return total

    def pending_notional(self, order: Order) -> Decimal:
        """Return the notional that a live entry order may still take."""
        plan = self.plans.get(order.position_id)
        price = self.price(order.symbol) or (plan.price if plan else Decimal(0))
        return max(order.remaining, Decimal(0)) * price

    def unsent_notional(self, execution: Execution) -> Decimal:
        """Return the notional that an execution may still send besides its order that lives."""
        if not execution.sends:
            return Decimal(0)
        order = self.orders.get(execution.child)
        living = order.remaining if order is not None and not order.state.final else Decimal(0)
        price = self.price(execution.symbol) or execution.reference_price
        return max(execution.left - living, Decimal(0)) * price

    def gross_exposure(self) -> Decimal:
        """Return the absolute notional of all open positions."""
        return self.valuation.of(self.positions, self.prices).gross

    def margin_used(self) -> Decimal:
        """Return the margin of positions and of entries on their way."""
        total = self.valuation.of(self.positions, self.prices).margin
        for order in self.orders.entries:
            plan = self.plans.get(order.position_id)
            leverage = plan.leverage if plan else 1
            total += self.pending_notional(order) / max(leverage, 1)
        for execution in self.executing.entering():
            plan = self.plans.get(execution.position_id)
            leverage = plan.leverage if plan else 1
            total += self.unsent_notional(execution) / max(leverage, 1)
        return total

    def day_loss(self) -> Decimal | None:
        """Return the fraction of the UTC day's first equity that is lost; None if not known."""
        day, equity = self.days.get(utc_day(self.time)), self.equity()
        if equity is None or day is None or not day.start_equity or day.start_equity < 0:
            return None
        return max((day.start_equity - equity) / day.start_equity, Decimal(0))

    def day(self, time: int) -> Day:
        """Return the counters of the UTC day that holds the market time."""
        name = utc_day(time)
        if name not in self.days:
            self.days[name] = Day(name, start_equity=self.equity())
            self.store_day(self.days[name])
            # a fill may come days late: the day that is asked for stays
            for old in [d for d in sorted(self.days)[:-3] if d != name]:
                del self.days[old]
            self._forget(day_start(time) - KEEP_MS)
        return self.days[name]

    def store_day(self, day: Day) -> None:
        """Keep the counters of a day."""
        self.emit(StoreDay(day.day, day.start_equity, day.pnl, day.trades, day.opened, day.losses))

    def store_account(self, *, published: bool = False, with_prices: bool = False) -> None:
        """Keep the account's numbers; `published` also tells them to others."""
        # a day begins with a round, a fill or funding, never with a reading or a restart
        today = self.days.get(utc_day(self.time), Day(utc_day(self.time)))
        equity = self.equity()
        self.emit(
            AccountSnapshot(
                time=self.time,
                wallet_balance=self.wallet,
                unrealized_pnl=self.unrealized(),
                available_balance=None if equity is None else equity - self.margin_used(),
                gross_exposure=self.gross_exposure(),
                daily_pnl=today.pnl,
                daily_trades=today.trades,
                open_positions=len(self.positions),
                trading_state=self.trading_state,
                last_round=self.last_round,
                in_sample=self.in_sample,
                published=published,
                prices={s: p for s, (p, _) in self.prices.items()} if with_prices else {},
                quotes=dict(self.quotes) if with_prices else {},
                latched=self.latch is not None,
                safety=self.safety,
                high_water=self.high_water,
                begun_time=self.begun_time,
                read_time=self.read_time,
            )
        )

    def trace(self, position_id: str) -> str:
        """Return the trace id of a position."""
        plan = self.plans.get(position_id)
        return plan.trace_id if plan else ""

    def _forget(self, before: int) -> None:
        held = {p.position_id for p in self.positions.values()}
        for key in [k for k, o in self.orders.items() if self._old(o, before, held)]:
            del self.orders[key]
        self.commissions = {k: c for k, c in self.commissions.items() if k in self.orders}
        self.closed = {k: p for k, p in self.closed.items() if (p.closed_time or 0) >= before}
        self.executing.forget(before, held)
        kept = held | {o.position_id for o in self.orders.values()}
        # one that waits has not sent its first order yet
        kept |= {e.position_id for e in self.executing.all.values()}
        self.plans = {k: p for k, p in self.plans.items() if k in kept}
        self.progress = {k: p for k, p in self.progress.items() if k in kept}
        self.counts = {k: n for k, n in self.counts.items() if k[0] in kept}
        told_again = min(before, self.recognised_from())
        self.seen_fills = {k: t for k, t in self.seen_fills.items() if t >= told_again}
        self.seen_funding = {k: t for k, t in self.seen_funding.items() if t >= told_again}
        self.directives = {k: t for k, t in self.directives.items() if t >= before}

    @staticmethod
    def _old(order: Order, before: int, held: set[str]) -> bool:
        return order.state.final and order.updated_time < before and order.position_id not in held
