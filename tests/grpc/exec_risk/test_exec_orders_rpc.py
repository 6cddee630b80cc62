"""SubmitExecution and CancelOrder over a real server and PostgreSQL."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from quantum.exec_risk.v1 import events_pb2
from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb
from quantum.exec_risk.v1 import trading_pb2 as trading

from services.trade.order import OrderPurpose, OrderType
from tests.grpc.exec_risk.conftest import World
from tests.grpc.exec_risk.test_exec_risk_service import detail, refused
from tests.support.eventually import eventually

BUY, SELL = trading.SIDE_BUY, trading.SIDE_SELL
MARKET, LIMIT = trading.EXECUTION_STRATEGY_MARKET, trading.EXECUTION_STRATEGY_LIMIT
SYMBOL = "BTCUSDT"
WORKING, DONE = trading.EXECUTION_STATE_WORKING, trading.EXECUTION_STATE_DONE


def asked(name: str = "r1", side: Any = BUY, **values: Any) -> pb.SubmitExecutionRequest:
    """A request for 0.1 BTC unless another size is given."""
    if not {"quantity", "notional_usd", "margin_usd"} & set(values):
        values["quantity"] = "0.1"
    values.setdefault("strategy", MARKET)
    return pb.SubmitExecutionRequest(request_id=name, symbol=SYMBOL, side=side, **values)


async def submit(world: World, request: pb.SubmitExecutionRequest) -> pb.SubmitExecutionResponse:
    """Submit and return the answer."""
    answer: pb.SubmitExecutionResponse = await world.stub.SubmitExecution(request, timeout=8)
    return answer


async def submit_and_send(world: World, request: pb.SubmitExecutionRequest) -> None:
    """Submit, and wait until the exchange has an order more: the answer does not wait for that."""
    before = len(world.exchange.orders)
    await submit(world, request)
    await eventually(lambda: len(world.exchange.orders) > before)


async def state_of(world: World, execution_id: str) -> str:
    """The stored state of an execution."""
    found: str = await world.database.pool.fetchval(
        "select state from executions where execution_id = $1", execution_id
    )
    return found


async def test_an_entry_is_executed_protected_and_told(world: World) -> None:
    """Incidents 23, 24 and 27: done with its fills, protected, and the same id is one order."""
    async with world.led():
        await world.point(close=True)
        request = asked(notional_usd="20", leverage=4, stop_loss_fraction="0.01")
        answer = await submit(world, request)
        assert (answer.approved, answer.rule) == (True, "approved")
        execution = answer.execution
        await eventually(lambda: world.exchange.orders)
        assert (execution.symbol, execution.side, execution.state) == (SYMBOL, BUY, WORKING)
        assert Decimal(execution.quantity) * Decimal(execution.reference_price) <= 20
        await world.point()
        again = await submit(world, request)
        assert again.execution.execution_id == execution.execution_id
        assert (again.approved, again.rule, again.reason) == (True, "approved", answer.reason)
        assert (again.execution.state, again.execution.orders) == (DONE, 1)
        assert again.execution.filled_quantity == execution.quantity
        entries = [o for o in world.exchange.orders.values() if o.purpose is OrderPurpose.ENTRY]
        assert len(entries) == 1
        stops = [o for o in world.exchange.orders.values() if o.purpose is OrderPurpose.STOP_LOSS]
        assert sum((o.quantity for o in stops if not o.state.final), Decimal(0)) == Decimal(
            execution.quantity
        )
    told = await world.database.pool.fetch(
        "select data from outbox where subject like 'quantum.events.execution.changed.%'"
        " order by id"
    )
    facts = [events_pb2.ExecutionChanged.FromString(row["data"]) for row in told]
    assert [f.execution.version for f in facts] == list(range(1, len(facts) + 1))
    assert (facts[0].cause, facts[-1].execution.state) == ("decided", DONE)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"quantity": "0"}, "quantity"),
        ({"quantity": "1" + "0" * 13}, "quantity"),
        ({"quantity": "0." + "1" * 40}, "quantity"),
        ({"notional_usd": "9" * 20}, "notional_usd"),
        ({"margin_usd": "0.0"}, "margin_usd"),
        ({"limit_price": "100"}, "limit_price"),
        ({"time_in_force": trading.TIME_IN_FORCE_FOK}, "time_in_force"),
        ({"stop_loss_fraction": "0"}, "stop_loss_fraction"),
        ({"quantity": "1e3"}, "quantity"),
        ({"leverage": 126}, "leverage"),
    ],
)
async def test_what_cannot_be_meant_names_its_field(
    world: World, values: dict[str, Any], field: str
) -> None:
    call = world.stub.SubmitExecution(asked(**values), timeout=8)
    error = await refused(call, grpc.StatusCode.INVALID_ARGUMENT)
    violations = detail(error, error_details_pb2.BadRequest).field_violations
    assert [v.field for v in violations] == [field]


async def test_a_size_is_needed(world: World) -> None:
    request = pb.SubmitExecutionRequest(request_id="r", symbol=SYMBOL, side=BUY)
    call = world.stub.SubmitExecution(request, timeout=8)
    error = await refused(call, grpc.StatusCode.INVALID_ARGUMENT)
    violations = detail(error, error_details_pb2.BadRequest).field_violations
    assert [v.field for v in violations] == ["size"]


async def test_rules_refuse_by_name_and_unknown_symbols_are_not_found(world: World) -> None:
    """An order of 40 times the account; REDUCING while flat and a BUY arrives; an odd symbol."""
    async with world.led():
        await world.point(close=True)
        large = await submit(world, asked("large", notional_usd="400000"))
        assert (large.approved, large.rule, large.HasField("execution")) == (
            False,
            "notional",
            False,
        )
        state = pb.SetTradingStateRequest(
            request_id="s", state=trading.TRADING_STATE_REDUCING, reason="test"
        )
        await world.stub.SetTradingState(state, timeout=8)
        flat = await submit(world, asked("flat"))
        assert (flat.approved, flat.rule) == (False, "trading_state")
        odd = asked("odd")
        odd.symbol = "ODDUSDT"
        error = await refused(world.stub.SubmitExecution(odd, timeout=8), grpc.StatusCode.NOT_FOUND)
        assert detail(error, error_details_pb2.ErrorInfo).reason == "SYMBOL_NOT_FOUND"
        assert not world.exchange.orders


async def test_a_sell_while_reducing_never_turns_the_position(world: World) -> None:
    """Incident 31: REDUCING, long, and a SELL of five times as much closes and no more."""
    async with world.led():
        await world.point(close=True)
        await submit_and_send(world, asked("open"))
        await world.point()
        state = pb.SetTradingStateRequest(
            request_id="s", state=trading.TRADING_STATE_REDUCING, reason="test"
        )
        await world.stub.SetTradingState(state, timeout=8)
        answer = await submit(world, asked("sell", SELL, quantity="0.5"))
        assert (answer.approved, answer.rule) == (True, "reduce_only")
        assert Decimal(answer.execution.quantity) == Decimal("0.1")
        assert answer.execution.reduce_only
        await eventually(lambda: [o for o in world.exchange.orders.values() if o.reduce_only])
        await world.point()
        assert world.exchange.held[SYMBOL] == 0
        assert await state_of(world, answer.execution.execution_id) == "DONE"


async def test_cancel_ends_what_is_left_also_after_a_restart(world: World) -> None:
    """Incident 26: a new leader knows the execution at work; its order is cancelled, once."""
    async with world.led():
        await world.point(close=True)
        answer = await submit(world, asked(strategy=LIMIT, limit_price="60"))
        assert answer.execution.state == WORKING
        await world.point()
    (order,) = world.exchange.orders.values()
    assert (order.type, order.price) == (OrderType.LIMIT, Decimal(60))
    async with world.led():
        request = pb.CancelOrderRequest(client_order_id=order.client_order_id, request_id="c1")
        shown = await world.stub.CancelOrder(request, timeout=8)
        assert shown.order.execution_id == answer.execution.execution_id
        assert shown.order.time_in_force == trading.TIME_IN_FORCE_GTC

        async def ended() -> bool:
            return await state_of(world, answer.execution.execution_id) == "CANCELED"

        await eventually(ended)
        again = await world.stub.CancelOrder(request, timeout=8)
        assert again.order.state == trading.ORDER_STATE_CANCELED
        assert len(world.exchange.orders) == 1


async def test_cancel_refuses_what_protects_and_what_is_unknown(world: World) -> None:
    """Incident 7: a stop is not taken away by its id."""
    async with world.led():
        await world.open()
        stop = next(
            o for o in world.exchange.orders.values() if o.purpose is OrderPurpose.STOP_LOSS
        )
        protects = pb.CancelOrderRequest(client_order_id=stop.client_order_id, request_id="c1")
        error = await refused(
            world.stub.CancelOrder(protects, timeout=8), grpc.StatusCode.FAILED_PRECONDITION
        )
        assert detail(error, error_details_pb2.ErrorInfo).reason == "PROTECTS_POSITION"
        unknown = pb.CancelOrderRequest(client_order_id="nobody", request_id="c2")
        await refused(world.stub.CancelOrder(unknown, timeout=8), grpc.StatusCode.NOT_FOUND)
