"""Jaeger, where its binary is found: it is in no package registry."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from services.ctl.servers.command import Command, NotReady
from services.ctl.servers.free import LOOPBACK

HOW_TO_GET = (
    "for Jaeger too, put the binary `jaeger` of https://www.jaegertracing.io/download on PATH"
)
_ANSWER_SECONDS = 2.0
_SECOND, _FIRST = "jaeger", "jaeger-all-in-one"


def found() -> Path | None:
    """Return the binary, of version 2 or 1; None when there is none."""
    for name in (_SECOND, _FIRST):
        if (path := shutil.which(name)) is not None:
            return Path(path)
    return None


@dataclass(frozen=True, slots=True)
class JaegerServer:
    """One Jaeger with everything in memory."""

    binary: Path
    otlp: int
    """Port that takes spans."""
    port: int
    """Port of its page."""
    log: Path
    name: str = "jaeger"

    @property
    def url(self) -> str:
        """Where people look."""
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Nothing is to be prepared: it keeps nothing on disk."""

    def command(self) -> Command:
        """Return what starts it, on the loopback alone."""
        otlp, page = f"{LOOPBACK}:{self.otlp}", f"{LOOPBACK}:{self.port}"
        given = (
            (f"--collector.otlp.grpc.host-port={otlp}", f"--query.http-server.host-port={page}")
            if self.binary.name == _FIRST
            else (
                f"--set=receivers.otlp.protocols.grpc.endpoint={otlp}",
                f"--set=extensions.jaeger_query.http.endpoint={page}",
            )
        )
        return Command(
            arguments=(str(self.binary), *given), log=self.log, directory=self.log.parent
        )

    async def probe(self) -> None:
        """Ask for the page."""
        limit = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        try:
            async with aiohttp.ClientSession(timeout=limit) as session, session.get(self.url):
                return
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotReady(f"{self.url} does not answer: {error!r}") from error
