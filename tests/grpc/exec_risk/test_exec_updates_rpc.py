"""StreamUpdates over a real server and a real bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest_asyncio
from google.rpc import error_details_pb2
from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb
from quantum.exec_risk.v1 import exec_risk_service_pb2_grpc as rpc

from services.catalog import events
from services.catalog.subjects import STREAMS
from services.exec_risk.core.facts import (
    Alert,
    EmergencyStopped,
    Fact,
    Latch,
    RiskDecided,
    TradingStateChanged,
)
from services.exec_risk.messages.facts import encode
from services.exec_risk.serving.updates import FIELDS
from services.kit.bus.bus import Bus
from services.trade.position import TradingState
from tests.grpc.exec_risk.conftest import WAITING, World
from tests.grpc.exec_risk.test_exec_risk_service import detail, refused

TIME = 1_700_000_000_000
LARGE = 50_000
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]


@pytest_asyncio.fixture
async def bus(world: World, nats_url: str) -> AsyncIterator[Bus]:
    """The bus that the service reads."""
    bus = await Bus.connect(nats_url, "test")
    await bus.declare(STREAMS)
    await world.updates.start(world.process, bus)
    yield bus
    await bus.close()


def alert(number: int, symbol: str = "", size: int = 0) -> Alert:
    """Something that a person should know."""
    return Alert("HIGH", "TEST", f"{number} {'x' * size}", TIME + number, symbol)


async def tell(bus: Bus, *facts: Fact, account: str = "main") -> None:
    """Publish facts as the outbox does."""
    await bus.publish_all([encode(fact, account, "paper") for fact in facts])


async def listening(world: World, symbol: str = "") -> Any:
    """Call, and wait until the stream has begun."""
    call = world.stub.StreamUpdates(pb.StreamUpdatesRequest(symbol=symbol))
    await asyncio.wait_for(call.initial_metadata(), 5)
    return call


async def heard(call: Any, count: int) -> list[pb.StreamUpdatesResponse]:
    """Read this many updates."""
    async with asyncio.timeout(10):
        return [await call.read() for _ in range(count)]


async def everything(call: Any, got: list[pb.StreamUpdatesResponse]) -> None:
    """Read until the stream ends."""
    async with asyncio.timeout(10):
        async for update in call:
            got.append(update)


async def test_events_of_the_account_arrive_in_order_from_now_on(world: World, bus: Bus) -> None:
    """What was before, other accounts and other types are not told."""
    await tell(bus, alert(0))
    call = await listening(world)
    await tell(bus, alert(1), account="other")
    latch = Latch("drawdown", "rule", TIME + 2)
    await tell(
        bus,
        RiskDecided("s1", "BTCUSDT", approved=False, rule="gate", reason="", time=TIME + 1),
        EmergencyStopped(latch, "CRITICAL", open_positions=3, drawdown=None),
        TradingStateChanged(TradingState.ACTIVE, TradingState.HALTED, "why", "me", TIME + 3),
        alert(4, "BTCUSDT"),
    )
    found = await heard(call, 3)
    assert [update.type for update in found] == [
        "emergency.stop",
        "trading_state.changed",
        "risk.alert",
    ]
    assert [update.WhichOneof("event") for update in found] == [
        "emergency_stopped",
        "trading_state_changed",
        "risk_alert",
    ]
    assert [update.time.ToMilliseconds() - TIME for update in found] == [2, 3, 4]
    assert found[0].emergency_stopped.open_positions == 3
    call.cancel()


async def test_two_callers_each_hear_what_they_asked_for(world: World, bus: Bus) -> None:
    every, one = await listening(world), await listening(world, "ETHUSDT")
    await tell(bus, alert(1, "BTCUSDT"), alert(2, "ETHUSDT"), alert(3), alert(4, "ETHUSDT"))
    assert [u.time.ToMilliseconds() - TIME for u in await heard(every, 4)] == [1, 2, 3, 4]
    assert [u.time.ToMilliseconds() - TIME for u in await heard(one, 2)] == [2, 4]
    one.cancel()
    await tell(bus, alert(5, "ETHUSDT"))
    assert (await heard(every, 1))[0].time.ToMilliseconds() - TIME == 5
    every.cancel()


async def test_a_caller_that_does_not_read_is_ended_and_holds_nobody_up(
    world: World, bus: Bus
) -> None:
    """Its updates are more than the connection and its queue hold; the other misses none."""
    address = world.process.settings.grpc_address
    async with grpc.aio.insecure_channel(address, options=SMALL_WINDOW) as channel:
        slow = rpc.ExecRiskServiceStub(channel).StreamUpdates(pb.StreamUpdatesRequest())
        await asyncio.wait_for(slow.initial_metadata(), 5)
        quick = await listening(world)
        count = 5 * WAITING
        for number in range(count):
            await tell(bus, alert(number, "BTCUSDT", LARGE))
            assert (await heard(quick, 1))[0].time.ToMilliseconds() - TIME == number
        got: list[pb.StreamUpdatesResponse] = []
        error = await refused(everything(slow, got), grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert detail(error, error_details_pb2.ErrorInfo).reason == "SLOW_CALLER"
        assert [u.time.ToMilliseconds() - TIME for u in got] == list(range(len(got)))
        assert len(got) < count
    await tell(bus, alert(count))
    assert len(await heard(quick, 1)) == 1
    quick.cancel()


async def test_a_drain_ends_streams_and_refuses_new_ones(world: World, bus: Bus) -> None:
    call = await listening(world)
    world.process.drain(enabled=True)
    error = await refused(asyncio.wait_for(call.read(), 5), grpc.StatusCode.UNAVAILABLE)
    assert detail(error, error_details_pb2.ErrorInfo).reason == "DRAINING"
    again = world.stub.StreamUpdates(pb.StreamUpdatesRequest())
    await refused(asyncio.wait_for(again.read(), 5), grpc.StatusCode.UNAVAILABLE)
    world.process.drain(enabled=False)
    back = await listening(world)
    await tell(bus, alert(1))
    assert len(await heard(back, 1)) == 1
    back.cancel()


async def test_a_stop_ends_streams_and_does_not_wait_for_them(world: World, bus: Bus) -> None:
    call = await listening(world)
    world.process.stop()
    # without its own end the stream would be cut after the grace, with another code
    await refused(asyncio.wait_for(call.read(), 5), grpc.StatusCode.UNAVAILABLE)
    assert "rotation" in await call.details()


def test_every_event_of_the_contract_has_its_type() -> None:
    fields = pb.StreamUpdatesResponse.DESCRIPTOR.oneofs_by_name["event"].fields
    told = {f.name: f.message_type.full_name for f in fields if f.message_type}
    assert {f: events.MESSAGES[t].DESCRIPTOR.full_name for t, f in FIELDS.items()} == told
