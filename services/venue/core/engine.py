"""The exchange: takes requests and steps, keeps the state, answers with events.

Everything that happens is a function of the requests, of the step at which each of them came,
and of the market. Requests of one step may come in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from services.venue.core import checks, rejections
from services.venue.core.account import ZERO, Account
from services.venue.core.disturbances import Disturbance, bend
from services.venue.core.events import AccountEvent, VenueEvent
from services.venue.core.execution import Execution
from services.venue.core.orders import (
    AlgoStatus,
    AmendRequest,
    Conditional,
    ConditionalRequest,
    OrderRequest,
    Status,
    VenueOrder,
)
from services.venue.core.rules import SymbolRules, VenueRules
from services.venue.core.state import State
from services.venue.core.steps import Step
from services.venue.core.taking import conditional_order, plain_order


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
        request = replace(request, reduce_only=self._reduces(request))
        checks.check_order(request, state.symbols[request.symbol].filters, mark)
        if state.book.client_id_open(request.client_id):
            raise rejections.client_id_duplicate()
        if len(state.book.orders) >= state.rules.max_open_orders:
            raise rejections.Rejection(-1015, "Reach max open order limit.")
        self._check_closable(request)
        order = plain_order(request, state)
        if not request.reduce_only:
            self._check_margin(order)
        state.book.put(order)
        return order

    def amend(self, request: AmendRequest) -> VenueOrder:
        """Take a new price and quantity for a limit order; they take effect at a later step.

        Returns the order as it will stand. A later amendment replaces one that waits.
        """
        state = self.state
        self._mark(request.symbol)
        order = state.book.find(request.symbol, request.order_id, request.client_id)
        if order is None:
            raise rejections.unknown_order()
        checks.check_amendment(request, order, state.symbols[request.symbol].filters)
        wanted = replace(order, price=request.price, quantity=request.quantity)
        if not order.reduce_only:
            self._check_margin(wanted)
        due = state.time + state.rules.order_latency_ms
        state.book.put(
            replace(
                order,
                amended_price=request.price,
                amended_quantity=request.quantity,
                amend_from=due,
            )
        )
        return wanted

    def place_conditional(self, request: ConditionalRequest) -> Conditional:
        """Take a conditional order, or raise Rejection."""
        state = self.state
        mark = self._mark(request.symbol)
        reduces = self._reduces(request)
        if request.close_position and state.account.hedged and not reduces:
            raise rejections.reduce_only()
        request = replace(request, reduce_only=reduces and not request.close_position)
        checks.check_conditional(request, state.symbols[request.symbol].filters, mark)
        if state.book.find_conditional(client_id=request.client_id):
            raise rejections.client_id_duplicate()
        self._check_closable(request)
        order = conditional_order(request, state)
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
        held = max((abs(leg.quantity) for leg in self.state.account.legs(symbol)), default=ZERO)
        if held * self.state.marks.get(symbol, ZERO) > largest:
            raise rejections.over_bracket()
        self.state.account.leverages[symbol] = leverage
        return largest

    def set_hedged(self, hedged: bool) -> None:
        """Set the position mode; only while nothing is open."""
        account, book = self.state.account, self.state.book
        if account.hedged is hedged:
            raise rejections.same_position_mode()
        if account.open_holdings():
            raise rejections.mode_with_positions()
        if book.orders or any(book.waiting()):
            raise rejections.mode_with_orders()
        account.hedged = hedged

    def set_countdown(self, symbol: str, milliseconds: int) -> None:
        """Cancel a symbol's plain orders after so much market time unless told again; 0: never."""
        self.rules_of(symbol)
        if milliseconds:
            self.state.countdowns[symbol] = self.state.time + milliseconds
        else:
            self.state.countdowns.pop(symbol, None)

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
        self._count_down()
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

    def _reduces(self, request: OrderRequest | ConditionalRequest) -> bool:
        return checks.in_mode(
            self.state.account.hedged,
            request.position_side,
            request.side,
            reduce_only=request.reduce_only,
        )

    def _check_closable(self, request: OrderRequest | ConditionalRequest) -> None:
        held = self.state.account.holding(request.symbol, request.position_side)
        if request.reduce_only and not held.closable(request.side):
            raise rejections.reduce_only()

    def _check_margin(self, order: VenueOrder) -> None:
        state = self.state
        others = [
            other
            for other in state.book.orders.values()
            if other.effect_step and other.order_id != order.order_id
        ]
        rules = state.symbols[order.symbol]
        checks.check_margin(state.account, rules, state.marks, others, order)

    def _count_down(self) -> None:
        """Ask for the end of the orders whose countdown is over."""
        state = self.state
        due = [symbol for symbol, time in state.countdowns.items() if time <= state.time]
        for symbol in due:
            del state.countdowns[symbol]
        for order in list(state.book.orders.values()):
            if order.symbol in due and order.cancel_from < 0:
                state.book.put(replace(order, cancel_from=state.time))

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
            run.liquidate(held)
        if account.wallet < 0:
            missing = -account.wallet
            account.wallet = ZERO
            run.fills.income("", "INSURANCE_CLEAR", missing)
            run.fills.events.append(
                AccountEvent("INSURANCE_CLEAR", state.time, account.wallet, missing)
            )
