"""The venue: its real core, the path of the market, and what the exchange would remember."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from services.exec_risk.core.exchange_events import (
    AccountReport,
    ExchangePosition,
    FundingReport,
    OrderReport,
    Refused,
)
from services.lab.simulation.market import START, SimulatedMarket
from services.lab.simulation.reports import algo_report, fill_of, funding_report, order_report
from services.trade.order import Fill, Order, OrderType, Side, TimeInForce
from services.venue.core.engine import Engine
from services.venue.core.events import ConditionalEvent, IncomeEvent, OrderEvent, VenueEvent
from services.venue.core.orders import (
    AlgoStatus,
    Conditional,
    ConditionalRequest,
    OrderRequest,
    PositionSide,
    VenueOrder,
)
from services.venue.core.rejections import Rejection
from services.venue.core.rules import VenueRules
from services.venue.core.steps import Point, Step

RECV_WINDOW_MS = 1_500
AHEAD_MS = 1_000
"""How far a signature may lie ahead of the venue's clock."""
BALANCE = Decimal(10_000)
_NOTHING = Decimal(0)
_FUNDING_RATE = Decimal("0.0003")


class Venue:
    """One account on the paper venue's core, with everything that it was ever told."""

    def __init__(self, market: SimulatedMarket, seed: int, account: str) -> None:
        self.market = market
        self.account = account
        self.engine = Engine(
            rules=VenueRules(max_impact=Decimal("0.002")),
            symbols=market.rules,
            seed=seed,
            balance=BALANCE,
            start=START,
        )
        self.engine.set_marks(market.marks())
        self.orders: dict[str, VenueOrder] = {}
        """Plain orders and children by client id, open or ended."""
        self.conditionals: dict[str, Conditional] = {}
        self.fills: list[Fill] = []
        self.funding: list[FundingReport] = []
        self.accepted: Counter[str] = Counter()
        """How often a client order id was taken."""
        self.insurance = Decimal(0)
        self._marks: dict[int, dict[str, Decimal]] = {START: market.marks()}

    @property
    def time(self) -> int:
        """Market time."""
        return self.engine.state.time

    @property
    def number(self) -> int:
        """Number of the last step."""
        return self.engine.state.number

    def mark(self, symbol: str) -> Decimal:
        """Return where a symbol stands."""
        return self.engine.state.marks[symbol]

    def marks_at(self, time: int) -> dict[str, Decimal]:
        """Return where all symbols stood at a market time that was reached; else where they do."""
        return self._marks.get(time, self.engine.state.marks)

    def held(self, symbol: str) -> Decimal:
        """Return the signed quantity of a position."""
        found = self.engine.state.account.holdings.get((symbol, PositionSide.BOTH))
        return _NOTHING if found is None else found.quantity

    @property
    def wallet(self) -> Decimal:
        """Wallet balance."""
        return self.engine.state.account.wallet

    def step(self, step: Step) -> list[VenueEvent]:
        """Move the market; remember what happened."""
        funding = None
        if step.closed and step.time % self.engine.state.rules.funding_interval_ms == 0:
            funding = dict.fromkeys(self.market.symbols, _FUNDING_RATE)
        events = self.engine.step(step, funding)
        self._marks[step.time] = dict(self.engine.state.marks)
        for event in events:
            if isinstance(event, OrderEvent):
                self.orders[event.order.client_id] = event.order
                if event.trade is not None:
                    self.fills.append(fill_of(event.trade, self.account))
            elif isinstance(event, ConditionalEvent):
                self.conditionals[event.order.client_id] = event.order
            elif isinstance(event, IncomeEvent):
                self._income(event)
        return events

    def still(self, milliseconds: int) -> list[VenueEvent]:
        """Let orders take effect while prices stand, as on an exchange that never pauses."""
        points = tuple(
            Point(s, self.mark(s), Decimal(0), continuous=True) for s in self.market.symbols
        )
        return self.step(Step(self.number + 1, self.time + milliseconds, points))

    def _income(self, event: IncomeEvent) -> None:
        income = event.income
        if income.type == "FUNDING_FEE":
            self.funding.append(
                funding_report(income.symbol, income.amount, income.time, income.income_id)
            )
        elif income.type == "INSURANCE_CLEAR":
            self.insurance += income.amount

    def place(self, order: Order) -> OrderReport | Refused:
        """Take an order, or say why not, in the exchange's own words."""
        try:
            if order.type.conditional:
                taken = self.engine.place_conditional(_conditional_request(order))
                self.conditionals[taken.client_id] = taken
                self.accepted[taken.client_id] += 1
                return algo_report(taken)
            plain = self.engine.place(_request(order))
        except Rejection as rejection:
            return Refused(str(rejection.code), rejection.message)
        self.orders[plain.client_id] = plain
        self.accepted[plain.client_id] += 1
        return order_report(plain)

    def trade_by_hand(self, symbol: str, side: Side, quantity: Decimal, name: str) -> bool:
        """A person trades on the exchange's own page; False when the exchange refuses."""
        try:
            plain = self.engine.place(OrderRequest(symbol, side, OrderType.MARKET, quantity, name))
        except Rejection:
            return False
        self.orders[name] = plain
        return True

    def cancel(self, order: Order) -> OrderReport | Refused:
        """Ask for the end of an order; a triggered one by its child, same id."""
        client_id = order.client_order_id
        if order.type.conditional:
            try:
                waiting = self.engine.cancel_conditional(client_id=client_id)
            except Rejection:
                pass  # it fired: its child is a plain order
            else:
                self.conditionals[client_id] = waiting
                return algo_report(waiting)
        try:
            plain = self.engine.cancel(order.symbol, client_id=client_id)
        except Rejection as rejection:
            return Refused(str(rejection.code), rejection.message)
        self.orders[client_id] = plain
        return order_report(plain)

    def find(self, order: Order) -> OrderReport | None:
        """Return what is known of a client order id."""
        waiting = self.conditionals.get(order.client_order_id)
        child = self.orders.get(order.client_order_id)
        if child is not None:
            return order_report(child)
        return algo_report(waiting) if waiting is not None else None

    def open_orders(self) -> tuple[OrderReport, ...]:
        """Return resting orders and waiting conditional ones."""
        book = self.engine.state.book
        found = [order_report(o) for o in book.orders.values()]
        found += [algo_report(c) for c in book.waiting()]
        return tuple(sorted(found, key=lambda r: (r.symbol, r.client_order_id)))

    def account_report(self) -> AccountReport:
        """Return wallet and positions."""
        state = self.engine.state
        held = tuple(
            ExchangePosition(
                h.symbol,
                h.quantity,
                h.entry_price,
                state.marks[h.symbol],
                h.unrealized(state.marks[h.symbol]),
            )
            for h in state.account.open_holdings()
        )
        return AccountReport(self.wallet, self.wallet, self.time, held)

    def leverages(self) -> dict[str, int]:
        """Return every symbol's leverage."""
        return {s: self.engine.state.account.leverage(s) for s in self.market.symbols}

    def set_leverage(self, symbol: str, leverage: int) -> Refused | None:
        """Set a symbol's leverage, or say why not."""
        try:
            self.engine.set_leverage(symbol, leverage)
        except Rejection as rejection:
            return Refused(str(rejection.code), rejection.message)
        return None

    def stopped(self, symbol: str, *, without: str = "") -> Decimal:
        """Return for how much of a position a stop waits, or an order to close is at work.

        `without` leaves out one stop, and all that are on their way out.
        """
        held = self.held(symbol)
        side = Side.SELL if held > 0 else Side.BUY
        book = self.engine.state.book
        waiting = [
            c.quantity
            for c in book.conditionals.values()
            if c.symbol == symbol
            and c.side is side
            and not (without and (c.client_id == without or c.cancel_from >= 0))
            and c.status in (AlgoStatus.NEW, AlgoStatus.TRIGGERING, AlgoStatus.TRIGGERED)
            and c.fires_upward is (side is Side.BUY)
        ]
        closing = [
            o.remaining
            for o in book.orders.values()
            if o.symbol == symbol and o.side is side and o.reduce_only
        ]
        return max([sum(closing, Decimal(0)), *waiting])


def _request(order: Order) -> OrderRequest:
    return OrderRequest(
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        quantity=order.quantity,
        client_id=order.client_order_id,
        price=order.price,
        time_in_force=TimeInForce(order.time_in_force or "GTC"),
        reduce_only=order.reduce_only,
    )


def _conditional_request(order: Order) -> ConditionalRequest:
    if order.trigger_price is None:
        raise Rejection(-1102, "Mandatory parameter 'triggerPrice' was not sent.")
    return ConditionalRequest(
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        trigger_price=order.trigger_price,
        client_id=order.client_order_id,
        quantity=order.quantity,
        reduce_only=order.reduce_only,
        working_type="MARK_PRICE",
    )
