"""The modes of services on a real bus: written by analytics' part, followed by every process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.analytics.modes.service_modes import ANNOUNCED, ServiceModes, Switch
from services.catalog.subjects import MODES, STREAMS, service_mode
from services.ctl.servers.nats import NatsServer
from services.kit.bus.bus import Bus
from services.kit.clock import SystemClock
from services.kit.modes import FollowedMode
from tests.support.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bus]:
    """One for all tests, of which each has a service of its own."""
    async with NatsServer.start(tmp_path_factory.mktemp("modes") / "nats") as server:
        bus = await Bus.connect(server.url, "modes")
        await bus.declare(STREAMS)
        yield bus
        await bus.close()


def switched(service: str, request_id: str, **changes: bool | str) -> Switch:
    wanted = {"drain": None, "maintenance": None, "announcement": ""} | changes
    return Switch(services=(service,), reason="why", by="me", request_id=request_id, **wanted)  # type: ignore[arg-type]


async def test_a_mode_reaches_its_service_alone_and_a_late_starter_too(bus: Bus) -> None:
    seen = 0

    def changed() -> None:
        nonlocal seen
        seen += 1

    ai, other = FollowedMode("ai", changed), FollowedMode("exec_risk", changed)
    await ai.start(bus)
    await other.start(bus)
    modes = ServiceModes(SystemClock())
    await modes.start(bus)
    await modes.set(switched("ai", "1", drain=True))
    told = await modes.set(switched("ai", "2", maintenance=True, announcement="we upgrade"))
    assert [(m.service, m.drain, m.maintenance, m.by) for m in told] == [("ai", True, True, "me")]
    await eventually(lambda: ai.mode == told[0])
    assert seen == 2
    assert not (other.mode.drain or other.mode.maintenance)
    late = FollowedMode("ai", changed)
    await late.start(bus)
    assert late.mode == ai.mode
    await modes.set(switched("ai", "3", drain=False, maintenance=False))


async def test_a_repeated_request_changes_nothing_again(bus: Bus) -> None:
    modes = ServiceModes(SystemClock())
    await modes.start(bus)
    await modes.set(switched("second", "1", maintenance=True))
    await modes.set(switched("second", "2", maintenance=False))
    told = await modes.set(switched("second", "1", maintenance=True))
    assert not told[0].maintenance


async def test_users_are_told_as_long_as_it_lasts(bus: Bus) -> None:
    modes = ServiceModes(SystemClock())
    await modes.start(bus)
    await modes.set(switched("third", "1", maintenance=True, announcement="we upgrade"))
    await eventually(lambda: [a.message for a in modes.alerts()] == ["we upgrade"])
    assert modes.alerts()[0].type == ANNOUNCED
    await modes.set(switched("third", "2", maintenance=False))
    await eventually(lambda: modes.alerts() == [])


async def test_what_cannot_be_read_lets_no_entry_in(bus: Bus) -> None:
    mode = FollowedMode("fourth", lambda: None)
    await mode.start(bus)
    await bus.publish(service_mode("fourth"), b"\xff\xff", message_id="torn")
    await eventually(lambda: mode.mode.maintenance)
    assert await bus.last(MODES.name, service_mode("fourth")) is not None
