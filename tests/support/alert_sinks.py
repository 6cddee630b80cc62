"""Where messages about alerts arrive in tests: an SMTP server and an HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from aiohttp import web


@dataclass
class Mailbox:
    """What an SMTP server took."""

    address: str = ""
    messages: list[EmailMessage] = field(default_factory=list)

    def text(self, number: int) -> str:
        """Plain text of a message."""
        body = self.messages[number].get_body(("plain",))
        assert body is not None
        return str(body.get_content())

    @property
    def subjects(self) -> list[str]:
        """Subjects in the order of arrival."""
        return [str(message["Subject"]) for message in self.messages]


@asynccontextmanager
async def smtp_sink() -> AsyncIterator[Mailbox]:
    """Run an SMTP server that takes everything."""
    box = Mailbox()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        lines: list[bytes] | None = None
        while line := await reader.readline():
            if lines is not None:
                if line == b".\r\n":
                    raw = b"".join(part.removeprefix(b".") for part in lines)
                    box.messages.append(message_from_bytes(raw, policy=default))
                    lines = None
                    writer.write(b"250 taken\r\n")
                else:
                    lines.append(line)
                continue
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                lines = []
                writer.write(b"354 go on\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 fine\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    box.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield box


@dataclass
class Letterbox:
    """What an HTTP server took: path, body and headers of each request."""

    url: str = ""
    requests: list[tuple[str, object, dict[str, str]]] = field(default_factory=list)
    refuse: int = 0
    """So many of the next requests are answered with 503."""

    def bodies(self, path: str) -> list[object]:
        """Return what came to a path."""
        return [body for found, body, _ in self.requests if found == path]


@asynccontextmanager
async def http_sink() -> AsyncIterator[Letterbox]:
    """Run an HTTP server that takes JSON at every path."""
    box = Letterbox()

    async def take(request: web.Request) -> web.Response:
        if box.refuse > 0:
            box.refuse -= 1
            return web.json_response({}, status=503)
        box.requests.append((request.path, await request.json(), dict(request.headers)))
        return web.json_response({})

    application = web.Application()
    application.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    box.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield box
    finally:
        await runner.cleanup()
