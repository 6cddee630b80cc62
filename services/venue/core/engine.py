"""The exchange: takes requests and steps, keeps the state, answers with events.

Everything that happens is a function of the requests, of the step at which each of them came,
and of the market. Requests of one step may come in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from services.trade.order import OrderType
from services.venue.core import checks, rejections
from services.venue.core.account import ZERO, Account
from services.venue.core.chance import identity
from services.venue.core.disturbances import Disturbance, bend
from services.venue.core.events import AccountEvent, VenueEvent
from services.venue.core.execution import Execution
from services.venue.core.orders import (
    AlgoStatus,
    Conditional,
    ConditionalRequest,
    OrderRequest,
    Status,
    VenueOrder,
)
from services.venue.core.rules import SymbolRules, VenueRules
from services.venue.core.state import State
from services.venue.core.steps import Step


class Engine:
    """A paper exchange with one account."""

    def __init__(
        self,
        *,
        rules: VenueRules,
        symbols: Mapping[str, SymbolRules],
        seed: int,
        balance: Decimal,
        start: int,
    ) -> None:
        account = Account.opened(balance, rules.default_leverage)
        self.state = State(rules, dict(symbols), seed, account, time=start)

    def set_marks(self, marks: Mapping[str, Decimal]) -> None:
        """Set the prices at which symbols stand before the first step."""
        self.state.marks.update(marks)

    def place(self, request: OrderRequest) -> VenueOrder:
        """Take a plain order, or raise Rejection. It comes to the book at a later step."""
        state = self.state
        mark = self._mark(request.symbol)
        checks.check_order(request, state.symbols[request.symbol].filters, mark)
        if state.book.client_id_open(request.client_id):
            raise rejections.client_id_duplicate()
        if len(state.book.orders) >= state.rules.max_open_orders:
            raise rejections.Rejection(-1015, "Reach max open order limit.")
        held = state.account.holding(request.symbol)
        if request.reduce_only and not held.closable(request.side):
            raise rejections.reduce_only()
        order = self._order(request)
        on_book = [other for other in state.book.orders.values() if other.effect_step]
        rules = state.symbols[request.symbol]
        if not request.reduce_only:
            checks.check_margin(state.account, rules, state.marks, on_book, order)
        state.book.put(order)
        return order

    def place_conditional(self, request: ConditionalRequest) -> Conditional:
        """Take a conditional order, or raise Rejection."""
        state = self.state
        mark = self._mark(request.symbol)
        checks.check_conditional(request, state.symbols[request.symbol].filters)
        if state.book.find_conditional(client_id=request.client_id):
            raise rejections.client_id_duplicate()
        held = state.account.holding(request.symbol)
        if request.reduce_only and not held.closable(request.side):
            raise rejections.reduce_only()
        order = Conditional(
            algo_id=identity("algo", state.seed, request.client_id, state.number),
            client_id=request.client_id,
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            trigger_price=request.trigger_price,
            quantity=request.quantity or ZERO,
            reduce_only=request.reduce_only,
            close_position=request.close_position,
            working_type=request.working_type,
            price_protect=request.price_protect,
            decided_time=state.time,
            update_time=state.time,
        )
        if order.reached(mark):
            raise rejections.would_trigger()
        state.book.put_conditional(order)
        return order

    def cancel(self, symbol: str, *, order_id: int = 0, client_id: str = "") -> VenueOrder:
        """Ask for the end of a plain order; it takes effect at a later step."""
        order = self.state.book.find(symbol, order_id, client_id)
        if order is None:
            raise rejections.unknown_cancel()
        if order.cancel_from < 0:
            due = self.state.time + self.state.rules.cancel_latency_ms
            order = replace(order, cancel_from=due)
            self.state.book.put(order)
        return order

    def cancel_conditional(self, *, algo_id: int = 0, client_id: str = "") -> Conditional:
        """Ask for the end of a conditional order that has not fired."""
        order = self.state.book.find_conditional(algo_id, client_id)
        if order is None or order.status is not AlgoStatus.NEW:
            raise rejections.unknown_cancel()
        if order.cancel_from < 0:
            due = self.state.time + self.state.rules.cancel_latency_ms
            order = replace(order, cancel_from=due)
            self.state.book.put_conditional(order)
        return order

    def set_leverage(self, symbol: str, leverage: int) -> Decimal:
        """Set a symbol's leverage; return the largest notional that it allows."""
        rules = self.rules_of(symbol)
        if not 1 <= leverage <= rules.max_leverage:
            raise rejections.leverage()
        largest = rules.max_notional(leverage)
        held = abs(self.state.account.holding(symbol).quantity)
        if held * self.state.marks.get(symbol, ZERO) > largest:
            raise rejections.over_bracket()
        self.state.account.leverages[symbol] = leverage
        return largest

    def set_margin_type(self, symbol: str, margin_type: str) -> None:
        """Only cross margin is kept here, so asking for isolated is refused."""
        self.rules_of(symbol)
        if margin_type == "CROSSED":
            raise rejections.Rejection(-4046, "No need to change margin type.")
        raise rejections.Rejection(-4168, "Unable to adjust to isolated-margin mode.")

    def disturb(self, disturbance: Disturbance) -> None:
        """Put a fault of the market in force; one with the same id is replaced."""
        if disturbance.symbol:
            self.rules_of(disturbance.symbol)
        self.state.disturbances[disturbance.fault_id] = disturbance

    def settle(self, fault_id: str) -> bool:
        """End a fault of the market; False when it is not in force."""
        return self.state.disturbances.pop(fault_id, None) is not None

    def step(self, step: Step, funding: Mapping[str, Decimal] | None = None) -> list[VenueEvent]:
        """Move the market on: fills, then liquidation, then funding; return what happened."""
        state = self.state
        if step.number != state.number + 1:
            raise ValueError(f"step {step.number} after step {state.number}")
        step = bend(state, step)
        before = dict(state.marks) if state.book.orders or state.book.conditionals else {}
        state.number, state.time = step.number, step.time
        state.marks.update((point.symbol, point.price) for point in step.points)
        run = Execution(state, step)
        for point in sorted(step.points, key=lambda one: one.symbol):
            run.symbol(point, before.get(point.symbol))
        self._liquidate(run)
        if funding:
            run.pay_funding(dict(funding))
        return run.fills.events

    def rules_of(self, symbol: str) -> SymbolRules:
        """Return a symbol's rules, or raise Rejection."""
        found = self.state.symbols.get(symbol)
        if found is None:
            raise rejections.invalid_symbol()
        return found

    def _mark(self, symbol: str) -> Decimal:
        self.rules_of(symbol)
        mark = self.state.marks.get(symbol)
        if mark is None:
            raise rejections.symbol_closed()
        return mark

    def _order(self, request: OrderRequest) -> VenueOrder:
        state = self.state
        return VenueOrder(
            order_id=identity("order", state.seed, request.symbol, request.client_id, state.number),
            client_id=request.client_id,
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            original_type=request.type,
            quantity=request.quantity,
            time_in_force=request.time_in_force,
            reduce_only=request.reduce_only,
            close_position=False,
            decided_time=state.time,
            price=request.price if request.type is OrderType.LIMIT else None,
            update_time=state.time,
        )

    def _liquidate(self, run: Execution) -> None:
        """Close everything when the margin balance is down to the maintenance margin."""
        state = self.state
        account = state.account
        if not account.open_holdings():
            return
        needed = account.maintenance(state.symbols, state.marks)
        if account.margin_balance(state.marks) > needed:
            return
        for order in sorted(state.book.orders.values(), key=lambda one: one.priority):
            run.fills.cancel(order, Status.CANCELED, "liquidation")
        for waiting in sorted(state.book.waiting(), key=lambda one: one.priority):
            run.fills.change(replace(waiting, status=AlgoStatus.CANCELED, reason="liquidation"))
        for held in account.open_holdings():
            run.liquidate(held.symbol)
        if account.wallet < 0:
            missing = -account.wallet
            account.wallet = ZERO
            run.fills.income("", "INSURANCE_CLEAR", missing)
            run.fills.events.append(
                AccountEvent("INSURANCE_CLEAR", state.time, account.wallet, missing)
            )
