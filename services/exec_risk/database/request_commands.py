"""Between a command and the row of `requests` by which a replica asks the leader for it."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.inputs import (
    CancelOrder,
    ClosePosition,
    Command,
    EmergencyStop,
    ReconcileNow,
    ResetEmergency,
    SetTradingState,
    SubmitExecution,
    ValidateEntry,
)
from services.trade.execution import ExecutionStrategy
from services.trade.order import Side, TimeInForce
from services.trade.position import TradingState


def command_of(request_id: str, kind: str, arguments: dict[str, str]) -> Command:
    """Return what a row asks for; ValueError for a kind that nobody knows."""
    if kind == "set_trading_state":
        state = TradingState(arguments["state"])
        return SetTradingState(request_id, state, arguments["reason"], arguments["changed_by"])
    if kind == "reconcile":
        return ReconcileNow(request_id, arguments["apply"] == "true")
    if kind == "emergency_stop":
        return EmergencyStop(request_id, arguments["reason"], arguments["by"])
    if kind == "reset_emergency":
        return ResetEmergency(request_id, arguments["reason"], arguments["by"])
    if kind == "close_position":
        return ClosePosition(request_id, arguments["symbol"])
    if kind == "submit_execution":
        return _submit(request_id, arguments)
    if kind == "cancel_order":
        return CancelOrder(request_id, arguments["client_order_id"])
    if kind == "validate_entry":
        return ValidateEntry(
            request_id,
            arguments["symbol"],
            Side(arguments["side"]),
            Decimal(arguments["size_usd"]),
            int(arguments["leverage"]),
        )
    raise ValueError(f"request {request_id}: unknown kind {kind!r}")


def _submit(request_id: str, arguments: dict[str, str]) -> SubmitExecution:
    def number(name: str) -> Decimal | None:
        return Decimal(arguments[name]) if arguments.get(name) else None

    return SubmitExecution(
        request_id,
        arguments["symbol"],
        Side(arguments["side"]),
        ExecutionStrategy(arguments["strategy"]),
        quantity=number("quantity"),
        notional_usd=number("notional_usd"),
        margin_usd=number("margin_usd"),
        leverage=int(arguments["leverage"]),
        reduce_only=arguments["reduce_only"] == "true",
        limit_price=number("limit_price"),
        time_in_force=TimeInForce(arguments["time_in_force"]),
        duration_ms=int(arguments["duration_seconds"]) * 1000,
        max_slippage=number("slippage_tolerance"),
        stop_fraction=number("stop_loss_fraction"),
        take_fraction=number("take_profit_fraction"),
    )
