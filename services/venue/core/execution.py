"""One step of the market: what it does to the orders, the positions and the wallet."""

from __future__ import annotations

from decimal import Decimal

from services.trade.order import OrderType, Side, TimeInForce
from services.trade.values import with_values
from services.venue.core import checks
from services.venue.core.account import CENT, ZERO, Holding
from services.venue.core.chance import identity
from services.venue.core.events import AccountEvent, OrderEvent
from services.venue.core.fills import Fills
from services.venue.core.matching import Move, marketable, trailed
from services.venue.core.orders import (
    AlgoStatus,
    Conditional,
    Kind,
    PositionSide,
    Status,
    VenueOrder,
)
from services.venue.core.rejections import Rejection
from services.venue.core.state import State
from services.venue.core.steps import Point, Step


class Execution:
    """Carries one step out on the state and collects what happened."""

    def __init__(self, state: State, step: Step) -> None:
        self._state = state
        self._step = step
        self.fills = Fills(state, step)

    def symbol(self, point: Point, start: Decimal | None) -> None:
        """Move one symbol's price to its point. `start` is where it stood before."""
        state, symbol = self._state, point.symbol
        if not state.has_orders(symbol):
            return
        gap = start is None or not point.continuous
        move = Move(point.price if start is None else start, point.price, gap)
        self.fills.open_symbol(point)
        if gap:
            self._cancel_due(symbol)
        self._resting(symbol, move)
        self._trail(symbol, move)
        if not gap:
            self._cancel_due(symbol)
        self._arrive(symbol)
        self._amend_due(symbol)

    def liquidate(self, held: Holding) -> None:
        """Close a position whatever the liquidity; the price is the point's with full slippage."""
        state, symbol = self._state, held.symbol
        side = Side.SELL if held.quantity > 0 else Side.BUY
        number, leg = self._step.number, held.position_side
        named: tuple[str | int, ...] = (state.seed, symbol, number, *_leg_name(leg))
        order = VenueOrder(
            order_id=identity("liquidation", *named),
            client_id=f"autoclose-{identity('autoclose', *named)}",
            symbol=symbol,
            side=side,
            type=OrderType.MARKET,
            original_type=Kind.MARKET,
            position_side=leg,
            quantity=abs(held.quantity),
            time_in_force=TimeInForce.IOC,
            reduce_only=True,
            close_position=False,
            decided_time=self._step.time,
            liquidation=True,
            effect_step=number,
        )
        self.fills.available[symbol] = order.quantity
        self.fills.volumes[symbol] = ZERO
        self.fills.fill(order, state.marks[symbol], maker=False)

    def pay_funding(self, rate_of: dict[str, Decimal]) -> None:
        """Charge funding on the open positions: longs pay shorts when the rate is positive."""
        state, time = self._state, self._step.time
        for held in state.account.open_holdings():
            rate = rate_of.get(held.symbol)
            if not rate:
                continue
            paid = (-held.quantity * state.marks[held.symbol] * rate).quantize(CENT)
            state.account.wallet += paid
            leg = held.position_side.value if held.position_side is not PositionSide.BOTH else ""
            self.fills.income(held.symbol, "FUNDING_FEE", paid, leg=leg)
            self.fills.events.append(
                AccountEvent("FUNDING_FEE", time, state.account.wallet, paid, None)
            )

    def _cancel_due(self, symbol: str) -> None:
        book, time = self._state.book, self._step.time
        for effective in (True, False):
            for order in book.of_symbol(symbol, effective=effective):
                if 0 <= order.cancel_from <= time:
                    self.fills.cancel(order, Status.CANCELED)
            for waiting in book.conditionals_of(symbol, effective=effective):
                if 0 <= waiting.cancel_from <= time:
                    self.fills.change(with_values(waiting, status=AlgoStatus.CANCELED))

    def _resting(self, symbol: str, move: Move) -> None:
        """Meet the orders on the book in the order in which the price comes by."""
        book = self._state.book
        met: list[tuple[Decimal, tuple[int, str], int, bool]] = []
        for order in book.of_symbol(symbol):
            if order.type is OrderType.LIMIT and move.meets_limit(order):
                assert order.price is not None  # noqa: S101 - limit orders have a price
                met.append((move.distance(order.price), order.priority, order.order_id, False))
        for waiting in book.conditionals_of(symbol):
            if move.meets_conditional(waiting):
                distance = move.distance(waiting.trigger_price)
                met.append((distance, waiting.priority, waiting.algo_id, True))
        for _, _, number, conditional in sorted(met):
            if conditional:
                fired = book.conditionals[number]
                self._trigger(fired, move.price_at(fired.trigger_price))
            elif number in book.orders:
                resting = book.orders[number]
                assert resting.price is not None  # noqa: S101 - limit orders have a price
                self.fills.fill(resting, move.price_at(resting.price), maker=True)

    def _arrive(self, symbol: str) -> None:
        """Fill what is left of market orders, then let new orders come to the book."""
        book, mark = self._state.book, self._state.marks[symbol]
        number, time = self._step.number, self._step.time
        for order in book.of_symbol(symbol):
            if order.type is OrderType.MARKET and order.effect_step < number:
                self.fills.fill(order, mark, maker=False)
        latency = self._state.rules.order_latency_ms
        arriving: list[VenueOrder | Conditional] = [
            *book.of_symbol(symbol, effective=False),
            *book.conditionals_of(symbol, effective=False),
        ]
        for new in sorted(arriving, key=lambda one: one.client_id):
            if new.decided_time + latency > time:
                continue
            if isinstance(new, Conditional):
                waiting = with_values(new, effect_step=number, update_time=time)
                waiting = trailed(waiting, (mark,), self._state.symbols[symbol].filters)
                self.fills.change(waiting)
                if waiting.reached(mark):
                    self._trigger(waiting, mark)
            else:
                self._enter(with_values(new, effect_step=number, update_time=time), mark)

    def _enter(self, order: VenueOrder, mark: Decimal) -> None:
        """Bring a plain order to the book, or let it expire there."""
        state, symbol = self._state, order.symbol
        closable = state.account.holding(symbol, order.position_side).closable(order.side)
        if order.reduce_only and closable:
            order = with_values(order, quantity=min(order.quantity, closable))
        state.book.put(order)
        self.fills.events.append(OrderEvent(order, "NEW", self._step.time))
        if order.reduce_only and not closable:
            self.fills.cancel(order, Status.EXPIRED, "reduce only")
            return
        if not order.reduce_only and not self._affordable(order):
            self.fills.cancel(order, Status.EXPIRED, "margin")
            return
        if order.type is OrderType.MARKET:
            self.fills.fill(order, mark, maker=False)
            return
        self._enter_limit(order, mark)

    def _enter_limit(self, order: VenueOrder, mark: Decimal) -> None:
        assert order.price is not None  # noqa: S101 - limit orders have a price
        kind = order.time_in_force
        takes = marketable(order.side, order.price, mark)
        if kind is TimeInForce.GTX and takes:
            self.fills.cancel(order, Status.EXPIRED, "post only")
            return
        if kind is TimeInForce.FOK and order.remaining > self.fills.fillable(order):
            takes = False
        if takes:
            self.fills.fill(order, mark, maker=False)
            order = self._state.book.orders.get(order.order_id, order)
        if kind in (TimeInForce.IOC, TimeInForce.FOK) and order.order_id in self._state.book.orders:
            self.fills.cancel(order, Status.EXPIRED, "time in force")

    def _trail(self, symbol: str, move: Move) -> None:
        """Let trailing stops that were not reached follow the price."""
        filters = self._state.symbols[symbol].filters
        prices = (move.end,) if move.gap else (move.start, move.end)
        for waiting in self._state.book.conditionals_of(symbol):
            if waiting.callback_rate is not None:
                self._state.book.put_conditional(trailed(waiting, prices, filters))

    def _amend_due(self, symbol: str) -> None:
        """Carry out amendments, after new orders have come to the book."""
        due = [o for o in self._state.book.of_symbol(symbol) if o.amend_from >= 0]
        for order in sorted(due, key=lambda one: one.client_id):
            if order.amend_from <= self._step.time and order.order_id in self._state.book.orders:
                self._amend(self._state.book.orders[order.order_id])

    def _amend(self, order: VenueOrder) -> None:
        """Give an order its new price and quantity; it loses its place unless it only shrinks."""
        state, time = self._state, self._step.time
        price, quantity = order.amended_price, order.amended_quantity
        assert price is not None and quantity is not None  # noqa: S101 - an amendment has both
        order = with_values(order, amended_price=None, amended_quantity=None, amend_from=-1)
        mark, takes = state.marks[order.symbol], False
        if order.reduce_only:
            held = state.account.holding(order.symbol, order.position_side)
            quantity = min(quantity, order.executed + held.closable(order.side))
        keeps = price == order.price and quantity <= order.quantity
        changed = with_values(
            order,
            price=price,
            quantity=quantity,
            effect_step=order.effect_step if keeps else self._step.number,
            update_time=time,
        )
        takes = marketable(order.side, price, mark)
        if quantity <= order.executed or (takes and order.time_in_force is TimeInForce.GTX):
            self.fills.cancel(order, Status.CANCELED, "amendment")
            return
        if not order.reduce_only and not self._affordable(changed):
            state.book.put(order)
            self.fills.events.append(OrderEvent(order, "AMENDMENT", time, reason="margin"))
            return
        state.book.put(changed)
        self.fills.events.append(OrderEvent(changed, "AMENDMENT", time))
        if takes:
            self.fills.fill(changed, mark, maker=False)

    def _affordable(self, order: VenueOrder) -> bool:
        state = self._state
        others = [
            other
            for other in state.book.orders.values()
            if other.effect_step and other.order_id != order.order_id
        ]
        try:
            checks.check_margin(
                state.account, state.symbols[order.symbol], state.marks, others, order
            )
        except Rejection:
            return False
        return True

    def _trigger(self, waiting: Conditional, market: Decimal) -> None:
        """Fire a conditional order: its child, with the same client id, meets the market."""
        time, account = self._step.time, self._state.account
        closable = account.holding(waiting.symbol, waiting.position_side).closable(waiting.side)
        closing = waiting.reduce_only or waiting.close_position
        fired = with_values(waiting, status=AlgoStatus.TRIGGERING, trigger_time=time)
        self.fills.change(fired)
        if closing and not closable:
            self.fills.change(
                with_values(fired, status=AlgoStatus.REJECTED, reason="ReduceOnly reject")
            )
            return
        child = VenueOrder(
            order_id=identity("child", self._state.seed, fired.algo_id),
            client_id=fired.client_id,
            symbol=fired.symbol,
            side=fired.side,
            type=OrderType.LIMIT if fired.type.limited else OrderType.MARKET,
            original_type=fired.type,
            position_side=fired.position_side,
            price=fired.price,
            quantity=_child_quantity(fired, closable),
            time_in_force=fired.time_in_force,
            reduce_only=closing,
            close_position=fired.close_position,
            decided_time=time,
            stop_price=fired.trigger_price,
            algo_id=fired.algo_id,
            effect_step=self._step.number,
            update_time=time,
        )
        self._state.book.put(child)
        self.fills.events.append(OrderEvent(child, "NEW", time))
        self.fills.change(with_values(fired, status=AlgoStatus.TRIGGERED, order_id=child.order_id))
        if not closing and not self._affordable(child):
            self.fills.cancel(child, Status.EXPIRED, "margin")
            return
        if child.type is OrderType.LIMIT:
            self._enter_limit(child, market)
        else:
            self.fills.fill(child, market, maker=False)


def _leg_name(leg: PositionSide) -> tuple[str, ...]:
    """Return what tells a leg's ids apart; nothing in one-way mode."""
    return () if leg is PositionSide.BOTH else (leg.value,)


def _child_quantity(fired: Conditional, closable: Decimal) -> Decimal:
    if fired.close_position:
        return closable
    return min(fired.quantity, closable) if fired.reduce_only else fired.quantity
