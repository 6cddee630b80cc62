"""Every RPC of ExecRiskService over a real server, led by the real term on a simulated exchange."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb
from quantum.exec_risk.v1 import trading_pb2 as trading

from services.exec_risk.core.rules import RULES
from services.trade.order import Order, OrderPurpose, Side
from tests.grpc.exec_risk.conftest import World
from tests.support.eventually import eventually

HALTED, ACTIVE = trading.TRADING_STATE_HALTED, trading.TRADING_STATE_ACTIVE
D = TypeVar("D")


def detail(error: grpc.aio.AioRpcError, kind: type[D]) -> D:
    """Return the error's detail of one kind."""
    call: Any = error
    status = rpc_status.from_call(call)
    assert status is not None
    for packed in status.details:
        found: Any = kind()
        if packed.Unpack(found):
            return found  # type: ignore[no-any-return]
    raise AssertionError(f"no {kind.__name__} in {status}")


async def refused(call: Any, code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    """Await a call that must end with this code; return its error."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    assert failure.value.code() is code, failure.value.details()
    return failure.value


async def test_health_follows_the_leader(world: World) -> None:
    """Incidents 35, 44, 108, 117: venue, build, one leverage cap; flags fall when nobody leads."""
    silent = await world.stub.GetHealth(pb.GetHealthRequest(), timeout=5)
    assert (silent.status, silent.leader, silent.binance_connected) == ("critical", False, False)
    assert (silent.entries_blocked_by, list(silent.reasons)) == ("no_leader", ["leader: silent"])
    async with world.led():
        await world.open()

        async def well() -> bool:
            answer = await world.stub.GetHealth(pb.GetHealthRequest(), timeout=5)
            return bool(answer.status == "healthy" and answer.binance_connected)

        await eventually(well)
        answer = await world.stub.GetHealth(pb.GetHealthRequest(), timeout=5)
        assert (answer.service, answer.build, answer.venue) == (
            "exec-risk-service",
            "abc123",
            "paper",
        )
        assert answer.leader and answer.trading_state == "active"
        assert (answer.open_positions, answer.effective_leverage_cap) == (1, 20)
        assert (answer.metrics.orders_executed, answer.metrics.positions_opened) == (1, 1)
        assert answer.entries_blocked_by == ""
        world.clock.ahead = timedelta(seconds=11)
        stale = await world.stub.GetHealth(pb.GetHealthRequest(), timeout=5)
        assert (stale.status, stale.binance_connected) == ("critical", False)


async def test_readiness_names_every_component(world: World) -> None:
    assert (await world.stub.GetReadiness(pb.GetReadinessRequest(), timeout=5)).status == "ready"
    world.process.components.set("exchange", False, "not connected")
    call = world.stub.GetReadiness(pb.GetReadinessRequest(), timeout=5)
    error = await refused(call, grpc.StatusCode.UNAVAILABLE)
    info = detail(error, error_details_pb2.ErrorInfo)
    assert info.reason == "NOT_READY"
    assert dict(info.metadata) == {"postgres": "ready", "exchange": "not connected"}
    world.process.components.set("exchange", True)
    world.process.drain(True)
    call = world.stub.GetReadiness(pb.GetReadinessRequest(), timeout=5)
    error = await refused(call, grpc.StatusCode.UNAVAILABLE)
    assert detail(error, error_details_pb2.ErrorInfo).metadata == {"rotation": "draining"}


async def test_account_positions_and_orders_of_an_open_position(world: World) -> None:
    call = world.stub.GetAccount(pb.GetAccountRequest(), timeout=5)
    error = await refused(call, grpc.StatusCode.UNAVAILABLE)
    assert detail(error, error_details_pb2.ErrorInfo).reason == "NOT_READY"
    async with world.led():
        await world.open()
    account = (await world.stub.GetAccount(pb.GetAccountRequest(), timeout=5)).account
    assert (account.account, account.venue, account.open_positions) == ("main", "paper", 1)
    assert Decimal(account.wallet_balance) == world.exchange.wallet
    answer = await world.stub.ListPositions(pb.ListPositionsRequest(status="open"), timeout=5)
    (position,) = answer.positions
    assert (position.symbol, position.status) == ("BTCUSDT", "open")
    assert position.stop_loss_price and position.take_profit_price and position.mark_price
    listed = await world.stub.ListOrders(pb.ListOrdersRequest(open_only=True), timeout=5)
    purposes = {o.purpose for o in listed.orders}
    assert purposes == {trading.ORDER_PURPOSE_STOP_LOSS, trading.ORDER_PURPOSE_TAKE_PROFIT}
    closed = await world.stub.ListPositions(pb.ListPositionsRequest(status="closed"), timeout=5)
    other = await world.stub.ListOrders(pb.ListOrdersRequest(symbol="ETHUSDT"), timeout=5)
    assert not closed.positions and not other.orders


async def test_lists_page_without_gap_or_repeat(world: World) -> None:
    async with world.led():
        await world.open()
    whole = await world.stub.ListOrders(pb.ListOrdersRequest(), timeout=5)
    seen, token = [], ""
    while True:
        request = pb.ListOrdersRequest(page_size=1, page_token=token)
        page = await world.stub.ListOrders(request, timeout=5)
        seen += [o.client_order_id for o in page.orders]
        token = page.next_page_token
        if not token:
            break
    assert len(seen) > 2
    assert seen == [o.client_order_id for o in whole.orders]


BAD = [
    ("ListOrders", pb.ListOrdersRequest(page_size=-1), "page_size"),
    ("ListOrders", pb.ListOrdersRequest(page_token="none"), "page_token"),
    ("ListOrders", pb.ListOrdersRequest(page_token="OTk5OTk5OTk5OTk5OTk5OTk5IHg="), "page_token"),
    ("ListPositions", pb.ListPositionsRequest(status="half"), "status"),
    ("ListPositions", pb.ListPositionsRequest(page_size=1001), "page_size"),
    ("ClosePosition", pb.ClosePositionRequest(symbol="BTCUSDT"), "request_id"),
    ("ClosePosition", pb.ClosePositionRequest(symbol="btc", request_id="r"), "symbol"),
    ("SetTradingState", pb.SetTradingStateRequest(reason="x", request_id="r"), "state"),
    ("SetTradingState", pb.SetTradingStateRequest(state=HALTED, request_id="r"), "reason"),
    ("EmergencyStop", pb.EmergencyStopRequest(request_id="r"), "reason"),
    ("ResetEmergency", pb.ResetEmergencyRequest(reason="x"), "request_id"),
    ("ValidateRisk", pb.ValidateRiskRequest(symbol="BTCUSDT", size_usd="5"), "side"),
    (
        "ValidateRisk",
        pb.ValidateRiskRequest(symbol="BTCUSDT", side=trading.SIDE_BUY, size_usd="9" * 40),
        "size_usd",
    ),
]


async def test_invalid_arguments_name_their_field(world: World) -> None:
    for method, request, field in BAD:
        call = getattr(world.stub, method)(request, timeout=5)
        error = await refused(call, grpc.StatusCode.INVALID_ARGUMENT)
        bad = detail(error, error_details_pb2.BadRequest)
        assert field in [v.field for v in bad.field_violations], (method, field)
    nul = world.stub.ListOrders(pb.ListOrdersRequest(symbol="A\0B"), timeout=5)
    await refused(nul, grpc.StatusCode.INVALID_ARGUMENT)


async def test_limits_are_the_rules_in_their_order(world: World) -> None:
    answer = await world.stub.GetLimits(pb.GetLimitsRequest(), timeout=5)
    assert [limit.rule for limit in answer.limits] == [rule.name for rule in RULES]
    assert {limit.rule: limit.value for limit in answer.limits}["open_positions"] == "10"


async def test_validation_answers_as_the_rules_would_and_orders_nothing(world: World) -> None:
    def asked(symbol: str, size: str = "500", leverage: int = 0) -> Any:
        request = pb.ValidateRiskRequest(
            symbol=symbol, side=trading.SIDE_BUY, size_usd=size, leverage=leverage
        )
        return world.stub.ValidateRisk(request, timeout=5)

    async with world.led():
        await world.open()
        assert (await asked("ETHUSDT")).approved
        rules = [
            (await asked("BTCUSDT")).rule,
            (await asked("NONEUSDT")).rule,
            (await asked("ETHUSDT", "50000")).rule,
            (await asked("ETHUSDT", "0.01")).rule,
            (await asked("ETHUSDT", leverage=100)).rule,
        ]
        assert rules == ["position_exists", "unknown_symbol", "notional", "filters", "leverage"]
        assert {o.symbol for o in world.exchange.orders.values()} == {"BTCUSDT"}


async def test_close_is_carried_out_once_and_answers_the_same_again(world: World) -> None:
    """Incident 15: an exit passes while entries are halted; a repeated request is one order."""
    async with world.led():
        await world.open()
        await state(world, HALTED, "stop-1")
        request = pb.ClosePositionRequest(symbol="BTCUSDT", request_id="close-1")
        first, second = await asyncio.gather(
            world.stub.ClosePosition(request, timeout=5),
            world.stub.ClosePosition(request, timeout=5),
        )
        assert first.order.client_order_id == second.order.client_order_id
        assert first.order.purpose == trading.ORDER_PURPOSE_EXIT and first.order.reduce_only
        await eventually(lambda: len(exits(world)) == 1)
        await world.point()
        again = await world.stub.ClosePosition(request, timeout=5)
        assert again.order.client_order_id == first.order.client_order_id
        assert again.order.state == trading.ORDER_STATE_FILLED
        assert len(exits(world)) == 1
        missing = pb.ClosePositionRequest(symbol="BTCUSDT", request_id="close-2")
        for _ in range(2):
            call = world.stub.ClosePosition(missing, timeout=5)
            error = await refused(call, grpc.StatusCode.NOT_FOUND)
            reason = detail(error, error_details_pb2.ErrorInfo).reason
            assert reason == "POSITION_NOT_FOUND"
        used = pb.ClosePositionRequest(symbol="ETHUSDT", request_id="close-1")
        await refused(world.stub.ClosePosition(used, timeout=5), grpc.StatusCode.ALREADY_EXISTS)
    assert [p.exit_reason for p in await closed_positions(world)] == [trading.EXIT_REASON_MANUAL]


async def test_trading_state_moves_once_a_request_and_holds_over_a_restart(world: World) -> None:
    """Incident 122: the state stops entries, by its name, also in a new term."""
    async with world.led():
        answer = await state(world, HALTED, "s-1")
        assert (answer.previous_state, answer.state) == (ACTIVE, HALTED)
        await state(world, ACTIVE, "s-2")
        await state(world, HALTED, "s-3")
        again = await state(world, HALTED, "s-1")
        assert (again.previous_state, again.state) == (ACTIVE, HALTED)
    async with world.led():
        await world.open()
        assert not world.exchange.fills
    told = await world.database.pool.fetchval(
        "select count(*) from outbox where subject like '%.trading_state.changed.%'"
    )
    assert told == 3
    judged = await world.database.pool.fetchval(
        "select data from outbox where subject like '%.risk.decided.%'"
    )
    assert b"trading_state" in judged


async def test_without_a_leader_a_request_fails_and_is_not_carried_out_later(
    world: World,
) -> None:
    """Unavailable names when to repeat; what nobody asks for any more is left alone."""
    request = pb.SetTradingStateRequest(state=HALTED, reason="test", request_id="late")
    call = world.stub.SetTradingState(request, timeout=10)
    error = await refused(call, grpc.StatusCode.UNAVAILABLE)
    assert detail(error, error_details_pb2.ErrorInfo).reason == "NO_LEADER"
    assert detail(error, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().seconds == 2
    await world.database.pool.execute(
        "update requests set created_at = created_at - '1h'::interval"
    )
    async with world.led():
        await asyncio.sleep(0.5)
        open_still = "select count(*) from requests where answered_at is null"
        assert await world.database.pool.fetchval(open_still) == 1
        answer = await world.stub.SetTradingState(request, timeout=5)
        assert (answer.previous_state, answer.state) == (ACTIVE, HALTED)


async def state(world: World, wanted: Any, request_id: str) -> pb.SetTradingStateResponse:
    """Set the trading state."""
    request = pb.SetTradingStateRequest(state=wanted, reason="test", request_id=request_id)
    return await world.stub.SetTradingState(request, timeout=5)


def exits(world: World) -> list[str]:
    """Return the exit orders that the exchange has taken."""
    orders = world.exchange.orders.values()
    return [o.client_order_id for o in orders if o.purpose is OrderPurpose.EXIT]


async def closed_positions(world: World) -> list[trading.Position]:
    """Return the positions that were closed."""
    request = pb.ListPositionsRequest(status="closed")
    return list((await world.stub.ListPositions(request, timeout=5)).positions)


async def test_the_emergency_stop_closes_latches_and_is_reset(world: World) -> None:
    """Incident 71: flat, no open orders, latched in health and account, until ResetEmergency."""
    stop = pb.EmergencyStopRequest(reason="drill", request_id="stop-1")
    reset = pb.ResetEmergencyRequest(reason="looked at", request_id="reset-1")
    async with world.led():
        await world.open()
        answer = await world.stub.EmergencyStop(stop, timeout=5)
        assert (answer.latched, answer.positions_closing, answer.orders_cancelling) == (True, 1, 0)
        early = world.stub.ResetEmergency(
            pb.ResetEmergencyRequest(reason="early", request_id="reset-0"), timeout=5
        )
        error = await refused(early, grpc.StatusCode.FAILED_PRECONDITION)
        assert detail(error, error_details_pb2.ErrorInfo).reason == "NOT_FLAT"
        await world.point()
        await eventually(lambda: not [o for o in world.exchange.orders.values() if _live(o)])
        health = await world.stub.GetHealth(pb.GetHealthRequest(), timeout=5)
        assert (health.open_positions, health.emergency_latched) == (0, True)
        active = world.stub.SetTradingState(
            pb.SetTradingStateRequest(state=ACTIVE, reason="x", request_id="s-1"), timeout=5
        )
        error = await refused(active, grpc.StatusCode.FAILED_PRECONDITION)
        assert detail(error, error_details_pb2.ErrorInfo).reason == "LATCHED"
    async with world.led():
        assert (await world.stub.EmergencyStop(stop, timeout=5)) == answer
        await world.point(Side.BUY, close=True)
        assert not [o for o in world.exchange.orders.values() if _live(o)]
        assert (await world.stub.ResetEmergency(reset, timeout=5)).state == HALTED
        account = (await world.stub.GetAccount(pb.GetAccountRequest(), timeout=5)).account
        assert (account.trading_state, account.emergency_latched) == (HALTED, False)


def _live(order: Order) -> bool:
    return not order.state.final


async def test_reconcile_shows_what_differs_and_repairs_it(world: World) -> None:
    """A stray order of ours: shown first, then cancelled; nothing is left to show."""
    async with world.led():
        await world.open()
        agreed = await world.stub.Reconcile(pb.ReconcileRequest(request_id="r-0"), timeout=10)
        assert (list(agreed.differences), agreed.applied) == ([], False)
        stop = next(
            o for o in world.exchange.orders.values() if o.purpose is OrderPurpose.STOP_LOSS
        )
        stray = replace(stop, client_order_id="qts9-stray", position_id="")
        world.exchange.orders[stray.client_order_id] = stray
        shown = await world.stub.Reconcile(pb.ReconcileRequest(request_id="r-1"), timeout=10)
        assert [(d.kind, d.ours) for d in shown.differences] == [("unknown_order", "none")]
        applied = await world.stub.Reconcile(
            pb.ReconcileRequest(apply=True, request_id="r-2"), timeout=10
        )
        assert (len(applied.differences), applied.applied) == (1, True)
        await eventually(lambda: world.exchange.orders[stray.client_order_id].state.final)
        agreed = await world.stub.Reconcile(pb.ReconcileRequest(request_id="r-3"), timeout=10)
        assert list(agreed.differences) == []
