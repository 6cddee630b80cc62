"""`qt events` and `qt dlq` on a real server with identities."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from quantum.analytics.v1 import events_pb2
from typer.testing import CliRunner

from services.catalog import subjects
from services.catalog.subjects import STREAMS
from services.ctl import policy
from services.ctl.__main__ import app
from services.ctl.identities import Identities
from services.ctl.render.bus import OPERATOR
from services.ctl.servers.nats import NatsServer
from services.ctl.stored import StoredMessages
from services.ctl.supervisor.home import Refused
from services.kit.bus.bus import Bus, Delivery
from services.kit.bus.login import BusLogin
from services.trade.codec import time_to_pb
from tests.support.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBJECT = subjects.event("health.status", "main", "ai")
OTHER = subjects.event("directive.issued", "main", "BTCUSDT")


class Place:
    """A bus with the operator's and analytics' connections."""

    def __init__(self, server: NatsServer, identities: Identities) -> None:
        self.server = server
        self.identities = identities

    async def connect(self, user: str) -> Bus:
        login = BusLogin(user, self.identities.nkey_file(user))
        return await Bus.connect(self.server.url, "test", login)

    async def qt(self, *words: str) -> Any:
        """Run a command with --json and return what it told."""
        seed = str(self.identities.nkey_file(OPERATOR))
        command = [*words, "--url", self.server.url, "--nkey-file", seed]
        told = await asyncio.to_thread(CliRunner().invoke, app, command)
        if told.exception is not None and not isinstance(told.exception, SystemExit):
            raise told.exception
        return json.loads(told.stdout)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder: Path = tmp_path_factory.mktemp("stored")
    identities = Identities(folder / "identities", policy.load())
    server = NatsServer(directory=folder / "nats", identities=identities)
    await server.launch()
    found = Place(server, identities)
    bus = await found.connect(OPERATOR)
    try:
        await bus.declare(STREAMS)
        yield found
    finally:
        await bus.close()
        await server.stop()


async def publish(bus: Bus, subject: str, *numbers: int) -> None:
    for number in numbers:
        said = events_pb2.HealthStatus(
            service_name="ai-service", status="HEALTHY", time=time_to_pb(1_000 * number)
        )
        headers = {subjects.HEADER_TYPE: "health.status", subjects.HEADER_TIME: str(number)}
        body = said.SerializeToString()
        await bus.publish(subject, body, message_id=f"health-{number}", headers=headers)


async def test_events_are_counted_shown_and_found(place: Place) -> None:
    bus = await place.connect("analytics")
    try:
        await publish(bus, SUBJECT, *range(1, 31))
        found = await place.qt("events", "info", "health.status", "--json")
        assert [(s["name"], s["messages"]) for s in found] == [("EVENTS", 30)]
        assert found[0]["subjects"] == {SUBJECT: 30}

        last = await place.qt("events", "tail", "health.status", "-n", "3", "--json")
        assert [one["id"] for one in last] == ["health-28", "health-29", "health-30"]
        assert last[-1]["data"]["service_name"] == "ai-service"

        by_id = await place.qt("events", "show", "health-7")
        assert by_id["data"]["time"] == "1970-01-01T00:00:07Z"
        assert await place.qt("events", "show", f"EVENTS:{by_id['sequence']}") == by_id
        with pytest.raises(Refused, match="no stream holds health-99"):
            await place.qt("events", "show", "health-99")
        with pytest.raises(Refused, match="no event type"):
            await place.qt("events", "info", "position.opend")
    finally:
        await bus.close()


async def test_a_dead_letter_reaches_its_reader_once_it_can_be_handled(place: Place) -> None:
    """Incident 58: what kept failing is kept, told with its reason, and can be handed in again."""
    handled: list[str] = []
    broken = True

    async def handle(batch: list[Delivery]) -> None:
        for one in batch:
            if broken:
                await one.reject("cannot be read")
            handled.append(one.message_id)

    bus = await place.connect("analytics")
    try:
        await bus.work("EVENTS", subjects.LEDGER_CONSUMER, subjects.ALL_EVENTS, handle)
        await publish(bus, OTHER, 101, 102)
        operator = await place.connect(OPERATOR)
        held = StoredMessages(operator)

        async def dead() -> list[int]:
            letters = [one async for one in held.walk(subjects.DEADLETTER, ">")]
            return [
                one.sequence
                for one in letters
                if one.headers[subjects.HEADER_ORIGINAL_ID] in ("health-101", "health-102")
            ]

        async def both_dead() -> bool:
            return len(await dead()) == 2

        await eventually(both_dead)
        listed = await place.qt("dlq", "list", "--json")
        assert {one["headers"]["qt-reason"] for one in listed} == {"cannot be read"}
        first, second = await dead()

        with pytest.raises(Refused, match="two minutes"):
            await place.qt("dlq", "retry", str(first), "--json")
        assert await dead() == [first, second]

        broken = False
        await operator.declare([replace(subjects.EVENTS, duplicate_window_seconds=1)])
        await asyncio.sleep(2)
        assert await place.qt("dlq", "retry", str(first), "--json") == {"retried": [first]}
        await eventually(lambda: "health-101" in handled)

        dropped = await place.qt("dlq", "drop", str(second), "--yes", "--json")
        assert dropped == {"dropped": [second]}
        assert await dead() == []
        with pytest.raises(Refused, match="one dead letter, or --all"):
            await place.qt("dlq", "retry", "--json")
        await operator.close()
    finally:
        await bus.close()
