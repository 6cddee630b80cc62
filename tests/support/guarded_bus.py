"""A server of the bus with identities, its users, and one of them that was taken over."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

from services.catalog.subjects import STREAMS
from services.ctl import policy
from services.ctl.identities import Identities
from services.ctl.render.bus import OPERATOR
from services.ctl.servers.nats import NatsServer
from services.kit.bus.bus import Bus
from services.kit.bus.login import BusLogin, inbox_prefix


class Guarded:
    """A server with identities, and its users."""

    def __init__(self, server: NatsServer, identities: Identities) -> None:
        self.server = server
        self.identities = identities

    @classmethod
    @asynccontextmanager
    async def serving(cls, folder: Path) -> AsyncIterator[Guarded]:
        """Run the server with its streams for the time of an `async with`."""
        identities = Identities(folder / "identities", policy.load())
        server = NatsServer(directory=folder / "nats", identities=identities)
        await server.launch()
        try:
            found = cls(server, identities)
            async with found.bus(OPERATOR) as bus:
                await bus.declare(STREAMS)
            yield found
        finally:
            await server.stop()

    def login(self, user: str) -> BusLogin:
        return BusLogin(user, self.identities.nkey_file(user))

    @asynccontextmanager
    async def bus(self, user: str) -> AsyncIterator[Bus]:
        bus = await Bus.connect(self.server.url, f"test {user}", self.login(user))
        try:
            yield bus
        finally:
            await bus.close()

    async def stored(self, stream: str, subject: str) -> list[Any]:
        """Everything that the stream holds under the subject."""
        async with self.bus(OPERATOR) as bus:
            found: list[Any] = []
            context = bus.client.jetstream(timeout=5)
            state = (await context.stream_info(stream)).state
            for sequence in range(max(state.first_seq, 1), state.last_seq + 1):
                message = await context.get_msg(stream, sequence)
                if message.subject == subject:
                    found.append(message)
            return found


class Intruder:
    """A service that was taken over: its key, and a client that does as it likes."""

    def __init__(self, client: Client, denied: list[str]) -> None:
        self.client = client
        self.denied = denied

    async def asks(self, subject: str, body: Any = None, reply: str = "") -> None:
        """Send one request, and wait until the server has dealt with it."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        reply = reply or self.client.new_inbox()
        await self.client.publish(subject, data, reply=reply, headers={"Nats-Msg-Id": "intruder"})
        await self.client.flush()

    async def answer(self, subject: str, body: Any) -> dict[str, Any]:
        got = await self.client.request(subject, json.dumps(body).encode(), timeout=5)
        return dict(json.loads(got.data))


@asynccontextmanager
async def intruder(guarded: Guarded, user: str = "analytics") -> AsyncIterator[Intruder]:
    denied: list[str] = []

    async def hear(error: Exception) -> None:
        denied.append(str(error).lower())

    client = await nats.connect(
        guarded.server.url,
        nkeys_seed=str(guarded.identities.nkey_file(user)),
        inbox_prefix=inbox_prefix(user).encode(),
        error_cb=hear,
    )
    try:
        yield Intruder(client, denied)
    finally:
        await client.close()
