"""Fills and endings of orders within one step: how they are booked, and in which order told."""

from __future__ import annotations

from decimal import Decimal

from services.trade.order import Side
from services.trade.values import with_values
from services.venue.core.account import CENT, ZERO, Holding
from services.venue.core.chance import fraction, identity
from services.venue.core.disturbances import allowed, wear_out
from services.venue.core.events import (
    AccountEvent,
    ConditionalEvent,
    IncomeEvent,
    OrderEvent,
    VenueEvent,
)
from services.venue.core.matching import liquidity, taker_price
from services.venue.core.orders import (
    AlgoStatus,
    Conditional,
    Income,
    Status,
    Trade,
    VenueOrder,
)
from services.venue.core.state import State
from services.venue.core.steps import Point, Step


class Fills:
    """Books what happens to orders in one step, and collects the events."""

    def __init__(self, state: State, step: Step) -> None:
        self._state = state
        self._step = step
        self.available: dict[str, Decimal] = {}
        """Quantity that may still fill at this step, by symbol."""
        self.volumes: dict[str, Decimal] = {}
        self.events: list[VenueEvent] = []

    def open_symbol(self, point: Point) -> None:
        """Measure what a symbol's point can fill."""
        state, symbol = self._state, point.symbol
        self.volumes[symbol] = point.volume
        self.available[symbol] = liquidity(
            state.rules, state.symbols[symbol].filters, state.seed, point, self._step.number
        )

    def cancel(self, order: VenueOrder, status: Status, reason: str = "") -> None:
        """End an open order without a fill."""
        ended = with_values(order, status=status, update_time=self._step.time)
        self._state.book.put(ended)
        self.events.append(OrderEvent(ended, status.value, self._step.time, reason=reason))
        self._finish_conditional(ended)

    def income(
        self, symbol: str, kind: str, amount: Decimal, trade_id: int = 0, leg: str = ""
    ) -> None:
        """Record one change of the wallet; `leg` tells two entries of one funding time apart."""
        named: tuple[str | int, ...] = (
            kind,
            symbol,
            self._step.number,
            trade_id,
            *((leg,) if leg else ()),
        )
        entry = Income(
            identity("income", self._state.seed, *named),
            symbol,
            kind,
            amount,
            self._step.time,
            trade_id,
        )
        self.events.append(IncomeEvent(entry, self._step.time))

    def change(self, changed: Conditional) -> None:
        """Store a changed conditional order and tell it."""
        changed = with_values(changed, update_time=self._step.time)
        self._state.book.put_conditional(changed)
        self.events.append(ConditionalEvent(changed, self._step.time))

    def _finish_conditional(self, child: VenueOrder) -> None:
        parent = self._state.book.conditionals.get(child.algo_id) if child.algo_id else None
        if parent is None or child.status.open:
            return
        average = child.cost / child.executed if child.executed else ZERO
        self.change(
            with_values(
                parent, status=AlgoStatus.FINISHED, average_price=average, executed=child.executed
            )
        )

    def fill(self, order: VenueOrder, market: Decimal, *, maker: bool) -> VenueOrder:
        """Fill as much of an order as liquidity and reduce-only allow; return it after that."""
        state, symbol = self._state, order.symbol
        quantity = self.fillable(order)
        if order.reduce_only:
            quantity = min(quantity, self._held(order).closable(order.side))
        if quantity <= 0:
            return order
        if not order.liquidation:
            wear_out(state, order)
        price = market if maker else self._taker_price(order, market, quantity)
        self.available[symbol] -= quantity
        trade = self._book_trade(order, price, quantity, maker=maker)
        executed = order.executed + quantity
        filled = with_values(
            order,
            executed=executed,
            cost=order.cost + price * quantity,
            status=Status.FILLED if executed == order.quantity else Status.PARTIALLY_FILLED,
            update_time=self._step.time,
        )
        state.book.put(filled)
        self._tell(filled, trade)
        self._finish_conditional(filled)
        self._expire_reduce_only(symbol)
        return filled

    def fillable(self, order: VenueOrder) -> Decimal:
        """Return how much of an order this step's liquidity and faults let fill."""
        most = min(order.remaining, self.available[order.symbol])
        cut = None if order.liquidation else allowed(self._state, order)
        return most if cut is None else min(most, cut)

    def _held(self, order: VenueOrder) -> Holding:
        return self._state.account.holding(order.symbol, order.position_side)

    def _taker_price(self, order: VenueOrder, market: Decimal, quantity: Decimal) -> Decimal:
        state = self._state
        price = taker_price(
            state.rules,
            state.symbols[order.symbol].filters,
            side=order.side,
            market=market,
            quantity=quantity,
            volume=self.volumes[order.symbol],
            noise=fraction("slippage", state.seed, order.client_id, self._step.number),
        )
        if order.price is None:
            return price
        return min(price, order.price) if order.side is Side.BUY else max(price, order.price)

    def _book_trade(
        self, order: VenueOrder, price: Decimal, quantity: Decimal, *, maker: bool
    ) -> Trade:
        state, time = self._state, self._step.time
        rate = state.rules.maker_fee if maker else state.rules.taker_fee
        commission = (price * quantity * rate).quantize(CENT)
        realized = state.account.apply_fill(
            order.symbol,
            order.side,
            leg=order.position_side,
            price=price,
            quantity=quantity,
            commission=commission,
            time=time,
        )
        return Trade(
            trade_id=identity("trade", state.seed, order.order_id, str(order.executed)),
            order_id=order.order_id,
            client_id=order.client_id,
            symbol=order.symbol,
            side=order.side,
            price=price,
            quantity=quantity,
            commission=commission,
            realized=realized,
            maker=maker,
            time=time,
            step=self._step.number,
            position_side=order.position_side,
        )

    def _tell(self, order: VenueOrder, trade: Trade) -> None:
        state, time = self._state, self._step.time
        execution = "CALCULATED" if order.liquidation else "TRADE"
        self.events.append(OrderEvent(order, execution, time, trade))
        if trade.realized:
            self.income(trade.symbol, "REALIZED_PNL", trade.realized, trade.trade_id)
        self.income(trade.symbol, "COMMISSION", -trade.commission, trade.trade_id)
        held, mark = self._held(order), state.marks[trade.symbol]
        self.events.append(AccountEvent("ORDER", time, state.account.wallet, ZERO, held, mark))

    def _expire_reduce_only(self, symbol: str) -> None:
        """End resting reduce-only orders whose position is gone."""
        for order in self._state.book.of_symbol(symbol):
            if order.reduce_only and not self._held(order).closable(order.side):
                self.cancel(order, Status.EXPIRED, "reduce only")
