"""An exchange that is a function of the market and of what was sent, for a told story."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from services.exec_risk.core import exchange_events as ex
from services.trade import ids
from services.trade.order import Fill, Order, OrderState, OrderType, TimeInForce
from tests.unit.exec_risk.account_desk import START as BEGIN
from tests.unit.exec_risk.account_desk import filters_of

D = Decimal
ZERO = D(0)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
FUNDS = D(10_000)
_FEE = D("0.0005")
_RATE = D("0.0001")


@dataclass(slots=True)
class Resting:
    """An order as the exchange has it."""

    order: Order
    since: int
    """Market time of its decision: it takes effect at the next point."""


class Exchange:
    """Fills by the market; answers at once, sometimes with a lost reply."""

    def __init__(self, *, loses: bool) -> None:
        self.loses = loses
        self.time = BEGIN
        self.prices = dict.fromkeys(SYMBOLS, D(100))
        self.orders: dict[str, Resting] = {}
        self.fills: list[Fill] = []
        self.funding: list[ex.FundingReport] = []
        self.wallet = FUNDS
        self.held = dict.fromkeys(SYMBOLS, ZERO)
        self.cost = dict.fromkeys(SYMBOLS, ZERO)
        self.leverage: dict[str, int] = {}

    def place(self, order: Order) -> ex.RequestOutcome:
        """Take an order; by its id the request or the reply may be lost, once."""
        name = order.client_order_id
        fate = int(ids.digest("fate", name, length=4), 16) % 8 if self.loses else 7
        if name in self.orders:
            return ex.Unknown("-4116 repeated id")
        if fate == 0 and order.version == 1 and not order.type.conditional:
            return ex.Unknown("request lost")
        self.orders[name] = Resting(replace(order, state=OrderState.ACCEPTED), order.decided_time)
        return ex.Unknown("reply lost") if fate == 1 else ex.Accepted(self.report(name))

    def cancel(self, name: str) -> ex.RequestOutcome:
        """End an order that rests."""
        found = self.orders.get(name)
        if found is None or found.order.state.final:
            return ex.Refused("-2011", "unknown order")
        found.order = replace(found.order, state=OrderState.CANCELED)
        return ex.Accepted(self.report(name))

    def report(self, name: str) -> ex.OrderReport:
        """Return what it says of an order."""
        order = self.orders[name].order
        return ex.OrderReport(
            name,
            "x" + name,
            order.symbol,
            order.side,
            order.state,
            order.quantity,
            order.filled_quantity,
            order.average_price,
            self.time,
            order.reduce_only,
            order.type.conditional,
            order.trigger_price,
        )

    def reading(self) -> ex.ExchangeSnapshot:
        """Return everything that it holds."""
        positions = tuple(
            ex.ExchangePosition(s, q, self.prices[s], self.prices[s], ZERO)
            for s, q in self.held.items()
            if q
        )
        account = ex.AccountReport(self.wallet, self.wallet, self.time, positions)
        resting = tuple(self.report(n) for n, r in self.orders.items() if not r.order.state.final)
        return ex.ExchangeSnapshot(
            account, resting, tuple(self.fills), tuple(self.funding), dict(self.leverage)
        )

    def reach(self, time: int, prices: dict[str, Decimal]) -> list[ex.ExchangeEvent]:
        """Move to a point; return the news of the user stream."""
        self.time, self.prices = time, prices
        news: list[ex.ExchangeEvent] = []
        for name in sorted(self.orders, key=self._place_in_line):
            resting = self.orders[name]
            if not resting.order.state.final and resting.since < time:
                news += self._match(name, resting)
        return news

    def _place_in_line(self, name: str) -> tuple[str, int, str]:
        resting = self.orders[name]
        return resting.order.symbol, resting.since, name

    def settle(self) -> list[ex.ExchangeEvent]:
        """Settle the funding of what is held; return the news of the user stream."""
        news: list[ex.ExchangeEvent] = []
        for symbol, held in self.held.items():
            if held:
                amount = (-held * self.prices[symbol] * _RATE).quantize(D("0.00000001"))
                name = ids.digest("funding", symbol, self.time, length=16)
                news.append(ex.FundingReport(symbol, amount, self.time, name))
                self.wallet += amount
        self.funding += [report for report in news if isinstance(report, ex.FundingReport)]
        return news

    def _match(self, name: str, resting: Resting) -> list[ex.ExchangeEvent]:
        order, price = resting.order, self.prices[resting.order.symbol]
        if not _crossed(order, price):
            if order.type is OrderType.LIMIT and order.time_in_force is not TimeInForce.GTC:
                return self._end(name)
            return []
        quantity = order.remaining
        if order.reduce_only:
            quantity = min(quantity, max(-self.held[order.symbol] * order.side.sign, ZERO))
        elif not order.filled_quantity and int(ids.digest("part", name, length=4), 16) % 3 == 0:
            quantity = filters_of(order.symbol).floor_quantity(quantity / 3) or quantity
        if not quantity:
            return self._end(name)
        fill = self._fill(order, quantity, price)
        filled = order.filled_quantity + quantity
        resting.order = replace(
            order,
            filled_quantity=filled,
            filled_cost=order.filled_cost + quantity * price,
            state=OrderState.FILLED if filled == order.quantity else OrderState.PARTIALLY_FILLED,
        )
        news: list[ex.ExchangeEvent] = [ex.FillReport(fill), self.report(name)]
        left = resting.order.state is OrderState.PARTIALLY_FILLED
        return news + (self._end(name) if left and order.reduce_only else [])

    def _end(self, name: str) -> list[ex.ExchangeEvent]:
        resting = self.orders[name]
        resting.order = replace(resting.order, state=OrderState.EXPIRED)
        return [self.report(name)]

    def _fill(self, order: Order, quantity: Decimal, price: Decimal) -> Fill:
        symbol, signed = order.symbol, quantity * order.side.sign
        held, pnl = self.held[symbol], ZERO
        if held * signed < 0:
            entry = self.cost[symbol] / held
            pnl = ((price - entry) * -signed).quantize(D("0.00000001"))
            self.cost[symbol] = self.cost[symbol] + signed * entry if held + signed else ZERO
        else:
            self.cost[symbol] += signed * price
        self.held[symbol] = held + signed
        paid = (price * quantity * _FEE).quantize(D("0.00000001"))
        self.wallet += pnl - paid
        trade = ids.digest("trade", order.client_order_id, self.time, length=16)
        fill = Fill(
            trade, order.account, symbol, order.client_order_id, order.side, price, quantity,
            paid, pnl, False, self.time, "x" + order.client_order_id,
        )  # fmt: skip
        self.fills.append(fill)
        return fill


def _crossed(order: Order, price: Decimal) -> bool:
    if order.trigger_price is not None:
        stops = order.type is OrderType.STOP_MARKET
        beyond = (price - order.trigger_price) * order.side.sign
        return beyond >= 0 if stops else beyond <= 0
    return order.price is None or (price - order.price) * order.side.sign <= 0
