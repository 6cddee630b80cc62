"""The core: everything that happens goes in, everything that is to be done comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.exec_risk.core import commands, directives, emergency, isolation, prices, rounds
from services.exec_risk.core.account import fills, funding, wallet
from services.exec_risk.core.actions import Reconcile
from services.exec_risk.core.effects import Effect
from services.exec_risk.core.exchange_events import (
    Accepted,
    CandleClosed,
    ExchangeEvent,
    FillReport,
    FundingReport,
    OrderReport,
    PointReached,
    PriceReport,
    Refused,
    RequestOutcome,
    StreamStateChanged,
    SymbolsListed,
    WalletReport,
)
from services.exec_risk.core.executions import child_ends, executing, submit
from services.exec_risk.core.inputs import (
    CancelAnswered,
    CancelOrder,
    ClosePosition,
    DirectiveHeard,
    EmergencyStop,
    ExitOverdue,
    FiltersRead,
    GatesChanged,
    Input,
    LeverageAnswered,
    OrderFound,
    PlaceAnswered,
    PolicyRead,
    PredictionsArrived,
    PricesHeard,
    ProtectionOverdue,
    ReconcileNow,
    ResetEmergency,
    RoundOpened,
    RoundTimedOut,
    SetTradingState,
    SnapshotRead,
    SubmitExecution,
    SwitchesRead,
    Tick,
    ValidateEntry,
    VerifyDue,
)
from services.exec_risk.core.orders import orders, sending_again
from services.exec_risk.core.orders.order_kinds import is_protection
from services.exec_risk.core.protection import guard
from services.exec_risk.core.reconciling import reconcile
from services.exec_risk.core.risk import entries, fund
from services.exec_risk.core.state import Book
from services.trade.order import Order, OrderPurpose, OrderState
from services.trade.position import ExitReason, Position

Event = ExchangeEvent | Input

_ANNOUNCED_PATIENCE = 8
"""Ticks that announced fills may take before the exchange is read again."""


class Trader:
    """Trades and protects one account. Pure: the same events give the same effects."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._handlers: dict[type, Callable[[Any], None]] = {
            OrderReport: self._order_report,
            FillReport: lambda e: fills.apply_fill(book, e.fill),
            FundingReport: lambda e: funding.apply_funding(book, e),
            WalletReport: lambda e: wallet.told(book, e),
            CandleClosed: lambda e: rounds.candle_closed(book, e.candle),
            PriceReport: lambda e: prices.told(book, e),
            PointReached: lambda e: rounds.opened(book, e.time, e.closed_symbols),
            StreamStateChanged: self._stream_state,
            PredictionsArrived: lambda e: rounds.answered(book, e),
            RoundOpened: lambda e: rounds.opened(book, e.time, e.symbols),
            RoundTimedOut: lambda e: rounds.timed_out(book, e.time),
            PlaceAnswered: self._place_answered,
            CancelAnswered: self._cancel_answered,
            OrderFound: self._order_found,
            LeverageAnswered: lambda e: entries.leverage_answered(book, e),
            VerifyDue: lambda _: book.emit(Reconcile(reconcile.VERIFY)),
            ReconcileNow: lambda e: reconcile.ask(book, e),
            SnapshotRead: lambda e: reconcile.apply_snapshot(book, e.snapshot, e.cause),
            PricesHeard: lambda e: prices.heard(book, e.prices),
            SymbolsListed: lambda e: book.filters.update(e.filters),
            FiltersRead: lambda e: book.filters.update(e.filters),
            Tick: self._tick,
            ProtectionOverdue: self._protection_overdue,
            ExitOverdue: lambda e: guard.exit_overdue(book, e.position_id),
            GatesChanged: self._gates_changed,
            SwitchesRead: self._switches_read,
            PolicyRead: lambda e: fund.read(book, e),
            DirectiveHeard: lambda e: directives.heard(book, e.directive),
            SetTradingState: lambda e: commands.set_trading_state(book, e),
            EmergencyStop: lambda e: emergency.stop(book, e),
            ResetEmergency: lambda e: emergency.reset(book, e),
            ClosePosition: lambda e: commands.close_position(book, e),
            ValidateEntry: lambda e: commands.validate_entry(book, e),
            SubmitExecution: lambda e: submit.submit_execution(book, e),
            CancelOrder: lambda e: submit.cancel_order(book, e),
        }

    def handle(self, event: Event, now: int) -> list[Effect]:
        """Take one event at market time `now` (ms) and return what follows, in order."""
        self.book.time = max(self.book.time, now)
        self._handlers[type(event)](event)
        if self.book.latch is not None:
            emergency.sweep(self.book)
        if self.book.directives_waiting:
            directives.work(self.book)
        if self.book.executing.busy:
            executing.work(self.book)
        if self.book.executing.untold:
            # what still enters decides which stops stay
            changed = [s for s in executing.tell(self.book) if s in self.book.at_rest]
            isolation.each(self.book, changed, guard.keep_protected)
        effects, self.book.out = self.book.out, []
        return effects

    def unprotected(self) -> list[Position]:
        """Return open positions that no live stop covers and that are not being closed."""
        return [
            p
            for p in self.book.positions.values()
            if p.exit_reason is None and not guard.protected(self.book, p)
        ]

    def leaving(self) -> list[Position]:
        """Return open positions that are being closed."""
        return [p for p in self.book.positions.values() if p.exit_reason is not None]

    def unanswered_rounds(self) -> list[int]:
        """Return the market times of the rounds that wait for answers, oldest first."""
        return sorted(r.time for r in self.book.rounds.values() if r.symbols is not None)

    def _order_report(self, report: OrderReport) -> None:
        self.book.time = max(self.book.time, report.time)
        order = self.book.orders.get(report.client_order_id)
        if order is None:
            if not report.state.final:
                text = f"{report.symbol} order {report.client_order_id} is not ours"
                self.book.alert("MEDIUM", "UNKNOWN_ORDER", text, symbol=report.symbol)
            return
        if report.state is OrderState.REJECTED:
            self._refused(order, Refused("rejected", report.reason), "user_stream")
            return
        self._after(orders.apply_report(self.book, order, report, "user_stream"))

    def _after(self, order: Order) -> None:
        """Go on after an order changed: protect, continue an exit, remove what nobody needs."""
        position = self.book.positions.get(order.symbol)
        owned = position is not None and position.position_id == order.position_id
        if is_protection(order) and not owned and not order.state.final:
            if order.state not in (OrderState.SUBMITTED, OrderState.UNKNOWN):
                orders.cancel(self.book, order)
            return
        guard.keep_protected(self.book, order.symbol)

    def _place_answered(self, event: PlaceAnswered) -> None:
        order = self.book.orders.get(event.client_order_id)
        if order is None or order.state.final:
            return
        outcome: RequestOutcome = event.outcome
        if isinstance(outcome, Accepted):
            self._after(orders.apply_report(self.book, order, outcome.report, "placed"))
        elif isinstance(outcome, Refused):
            self._refused(order, outcome, "refused")
        else:
            orders.lost(self.book, order, outcome.reason)
            self._after(self.book.orders[order.client_order_id])

    def _refused(self, order: Order, refused: Refused, cause: str) -> None:
        """End an order that the exchange has proven not to have taken."""
        if order.state not in (OrderState.SUBMITTED, OrderState.ACCEPTED, OrderState.UNKNOWN):
            return
        if order.filled_quantity:
            return
        reason = f"{refused.code} {refused.message}".strip()
        orders.move(self.book, order, OrderState.REJECTED, cause, reason=reason)
        if order.execution_id:
            child_ends.refused(self.book, order, refused)
        elif order.purpose is not OrderPurpose.ENTRY:
            guard.after_refusal(self.book, order, refused)

    def _order_found(self, event: OrderFound) -> None:
        order = self.book.orders.get(event.client_order_id)
        if order is None or order.state.final:
            return
        orders.asked_for(self.book, order)
        if event.report is not None:
            if event.report.state is OrderState.REJECTED:
                self._refused(order, Refused("rejected", event.report.reason), "found")
                return
            if not event.report.state.final:
                orders.still_there(self.book, order)
            self._after(orders.apply_report(self.book, order, event.report, "found"))
        elif order.state is OrderState.SUBMITTED:
            return  # it was sent again since it was asked for; its own answer is on its way
        elif order.state is OrderState.UNKNOWN:
            if sending_again.never_sent(self.book, order):
                return
            refused = Refused("never_sent", "the exchange does not know it", retryable=True)
            self._refused(order, refused, "not_found")
        else:
            changed = orders.move(self.book, order, OrderState.CANCELED, "not_found")
            self._after(changed)

    def _cancel_answered(self, event: CancelAnswered) -> None:
        book = self.book
        order = book.orders.get(event.client_order_id)
        if order is None or order.state.final:
            book.cancelling.discard(event.client_order_id)
            return
        outcome: RequestOutcome = event.outcome
        if isinstance(outcome, Accepted):
            # it may rest until the next step of the market: its final report ends the cancel
            book.unanswered.discard(event.client_order_id)
            self._after(orders.apply_report(book, order, outcome.report, "canceled"))
        elif isinstance(outcome, Refused) and outcome.retryable:
            # the next tick asks for the cancel again
            book.cancelling.discard(event.client_order_id)
            book.unanswered.discard(event.client_order_id)
        else:
            may_arrive = not isinstance(outcome, Refused)
            orders.cancel_not_confirmed(book, order, may_arrive=may_arrive)

    def _stream_state(self, event: StreamStateChanged) -> None:
        if event.stream == "user":
            self.book.connected = event.up
            if event.up:
                self.book.emit(Reconcile("user stream came up"))

    def _tick(self, _: Tick) -> None:
        book = self.book
        book.exit_hold.clear()
        book.executing.cancel_tried.clear()
        isolation.each(book, sorted(book.positions), guard.keep_protected)
        for order in book.live_orders():
            if is_protection(order) and order.state not in (
                OrderState.SUBMITTED,
                OrderState.UNKNOWN,
            ):
                self._after(order)
        if not book.announced:
            book.announced_ticks = 0
            return
        book.announced_ticks += 1
        if book.announced_ticks >= _ANNOUNCED_PATIENCE:
            book.announced_ticks = 0
            book.emit(Reconcile("announced fills did not come"))

    def _protection_overdue(self, event: ProtectionOverdue) -> None:
        for position in self.unprotected():
            if position.position_id == event.position_id:
                text = "no live stop within its grace"
                guard.close(self.book, position, ExitReason.UNPROTECTED, text)

    def _switches_read(self, event: SwitchesRead) -> None:
        if event.stop is not None and self.book.latch is None:
            emergency.stop(self.book, event.stop)
        else:
            commands.take_switches(self.book, event)

    def _gates_changed(self, event: GatesChanged) -> None:
        before, self.book.gates = self.book.gates, event.gates
        if event.gates.store_away and not before.store_away:
            text = "PostgreSQL does not answer: no entries; stops rest, exits go on"
            self.book.alert("HIGH", "POSTGRES_AWAY", text, action="STOP_ENTRIES")
        if event.gates.exchange_away and not before.exchange_away:
            text = "the exchange does not answer: no entries; stops rest there, exits are tried"
            self.book.alert("HIGH", "EXCHANGE_AWAY", text, action="STOP_ENTRIES")
