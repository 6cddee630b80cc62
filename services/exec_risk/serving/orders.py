"""SubmitExecution and CancelOrder over gRPC: checked here, done by the leader."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb

from services.exec_risk.serving.views import Views
from services.kit.errors import FailedPrecondition, InvalidArgument, NotFound
from services.trade.codec import enum_from_pb, execution_to_pb, order_to_pb
from services.trade.execution import ExecutionStrategy
from services.trade.order import Side, TimeInForce

LARGEST = Decimal(10) ** 12
"""Largest quantity, price or sum in USD that can be meant."""
MOST_DIGITS = 28
_SIZES = ("quantity", "notional_usd", "margin_usd")
_FRACTIONS = ("slippage_tolerance", "stop_loss_fraction", "take_profit_fraction")
_PRICED = (
    ExecutionStrategy.LIMIT,
    ExecutionStrategy.ICEBERG,
    ExecutionStrategy.TWAP,
    ExecutionStrategy.VWAP,
)


class OrderRpcs:
    """The part of the servicer that brings quantities to the exchange and takes them back."""

    _views: Views
    _wait_seconds: float

    async def SubmitExecution(
        self, request: pb.SubmitExecutionRequest, context: Any
    ) -> pb.SubmitExecutionResponse:
        """Begin an execution, or say which rule refuses it.

        InvalidArgument names the field; NotFound: the exchange does not trade the symbol.
        """
        ok, result = await self._views.ask_leader(
            request.request_id,
            "submit_execution",
            submit_arguments(request),
            wait_seconds=self._wait_seconds,
        )
        if not ok:
            raise NotFound(result["reason"], reason=result["code"])
        answer = pb.SubmitExecutionResponse(
            approved=result["approved"] == "true", rule=result["rule"], reason=result["reason"]
        )
        execution = await self._views.execution(result["execution_id"])
        if execution is not None:
            answer.execution.CopyFrom(execution_to_pb(execution))
        return answer

    async def CancelOrder(
        self, request: pb.CancelOrderRequest, context: Any
    ) -> pb.CancelOrderResponse:
        """Cancel an order, or all that is left of its execution.

        NotFound for an unknown id, FailedPrecondition for what protects or closes a position.
        """
        ok, result = await self._views.ask_leader(
            request.request_id,
            "cancel_order",
            {"client_order_id": request.client_order_id},
            wait_seconds=self._wait_seconds,
        )
        order = await self._views.order(request.client_order_id)
        if order is None:
            raise NotFound(f"no order {request.client_order_id}", reason="ORDER_NOT_FOUND")
        # the leader forgets old orders; what ended long ago is shown as it is
        if not ok and not order.state.final:
            raise FailedPrecondition(result["reason"], reason=result["code"])
        return pb.CancelOrderResponse(order=order_to_pb(order))


def submit_arguments(request: pb.SubmitExecutionRequest) -> dict[str, str]:
    """Return a checked request as the leader takes it; InvalidArgument names field and rule."""
    size = request.WhichOneof("size")
    if size is None:
        raise InvalidArgument.of("size", "one of quantity, notional_usd, margin_usd is needed")
    strategy = ExecutionStrategy.SMART
    if request.strategy:
        strategy = enum_from_pb(ExecutionStrategy, request.strategy)
    rests = TimeInForce.GTC
    if request.time_in_force:
        rests = enum_from_pb(TimeInForce, request.time_in_force)
    for name in (size, "limit_price", *_FRACTIONS):
        text = getattr(request, name)
        if text:
            _check_number(name, text)
    if rests is not TimeInForce.GTC and strategy is not ExecutionStrategy.LIMIT:
        raise InvalidArgument.of("time_in_force", "other than GTC needs the strategy LIMIT")
    if request.limit_price and strategy not in _PRICED:
        raise InvalidArgument.of("limit_price", f"is not kept by the strategy {strategy}")
    return {
        "symbol": request.symbol,
        "side": enum_from_pb(Side, request.side).value,
        "strategy": strategy.value,
        "leverage": str(request.leverage),
        "reduce_only": str(request.reduce_only).lower(),
        "limit_price": request.limit_price,
        "time_in_force": rests.value,
        "duration_seconds": str(request.duration_seconds),
        **{name: getattr(request, name) if name == size else "" for name in _SIZES},
        **{name: getattr(request, name) for name in _FRACTIONS},
    }


def _check_number(field: str, text: str) -> None:
    if sum(character.isdigit() for character in text) > MOST_DIGITS:
        raise InvalidArgument.of(field, f"has more than {MOST_DIGITS} digits")
    number = Decimal(text)
    if number <= 0:
        raise InvalidArgument.of(field, "is above 0")
    if number > LARGEST:
        raise InvalidArgument.of(field, f"is at most {LARGEST:f}")
