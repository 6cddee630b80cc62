"""The venue's orders and events as exec_risk's exchange client would read them from the wire."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.exchange_events import (
    ExchangeEvent,
    FillReport,
    FundingReport,
    OrderReport,
    WalletReport,
)
from services.trade.order import Fill, OrderState
from services.venue.core.events import (
    AccountEvent,
    ConditionalEvent,
    IncomeEvent,
    OrderEvent,
    VenueEvent,
)
from services.venue.core.orders import AlgoStatus, Conditional, Status, Trade, VenueOrder

_STATES = {
    Status.NEW: OrderState.ACCEPTED,
    Status.PARTIALLY_FILLED: OrderState.PARTIALLY_FILLED,
    Status.FILLED: OrderState.FILLED,
    Status.CANCELED: OrderState.CANCELED,
    Status.EXPIRED: OrderState.EXPIRED,
}
_ALGO_STATES = {
    AlgoStatus.NEW: OrderState.ACCEPTED,
    AlgoStatus.TRIGGERING: OrderState.ACCEPTED,
    AlgoStatus.TRIGGERED: OrderState.ACCEPTED,
    AlgoStatus.CANCELED: OrderState.CANCELED,
    AlgoStatus.REJECTED: OrderState.REJECTED,
}


def order_report(order: VenueOrder) -> OrderReport:
    """Return a plain order, or the child of a triggered one."""
    return OrderReport(
        client_order_id=order.client_id,
        exchange_order_id=str(order.order_id),
        symbol=order.symbol,
        side=order.side,
        state=_STATES[order.status],
        quantity=order.quantity,
        filled_quantity=order.executed,
        average_price=order.cost / order.executed if order.executed else None,
        time=order.update_time,
        reduce_only=order.reduce_only,
        conditional=order.original_type.conditional,
        trigger_price=order.stop_price,
    )


def algo_report(order: Conditional) -> OrderReport:
    """Return a conditional order; FINISHED means that its child is at its end."""
    if order.status is AlgoStatus.FINISHED:
        whole = order.quantity > 0 and order.executed >= order.quantity
        state = OrderState.FILLED if whole else OrderState.EXPIRED
    else:
        state = _ALGO_STATES[order.status]
    return OrderReport(
        client_order_id=order.client_id,
        exchange_order_id=str(order.algo_id),
        symbol=order.symbol,
        side=order.side,
        state=state,
        quantity=order.quantity,
        filled_quantity=order.executed,
        average_price=order.average_price if order.executed else None,
        time=order.update_time,
        reduce_only=order.reduce_only,
        conditional=True,
        trigger_price=order.trigger_price,
        reason=order.reason,
    )


def fill_of(trade: Trade, account: str) -> Fill:
    """Return a trade as a fill of the account."""
    return Fill(
        trade_id=str(trade.trade_id),
        account=account,
        symbol=trade.symbol,
        client_order_id=trade.client_id,
        side=trade.side,
        price=trade.price,
        quantity=trade.quantity,
        commission=trade.commission,
        realized_pnl=trade.realized,
        maker=trade.maker,
        time=trade.time,
        exchange_order_id=str(trade.order_id),
    )


def user_events(event: VenueEvent, account: str) -> list[ExchangeEvent]:
    """Return what the user stream tells of an event: a fill before the report of its order."""
    match event:
        case OrderEvent():
            report = order_report(event.order)
            if event.execution not in ("TRADE", "CALCULATED") or event.trade is None:
                return [report]
            return [FillReport(fill_of(event.trade, account)), report]
        case ConditionalEvent():
            return [algo_report(event.order)]
        case AccountEvent():
            return [WalletReport(event.wallet, event.time, event.reason)]
        case IncomeEvent(income=income) if income.type == "FUNDING_FEE":
            return [funding_report(income.symbol, income.amount, income.time, income.income_id)]
    return []


def funding_report(symbol: str, amount: Decimal, time: int, number: int) -> FundingReport:
    """Return a settlement; the income log's id names it."""
    return FundingReport(symbol, amount, time, str(number))
