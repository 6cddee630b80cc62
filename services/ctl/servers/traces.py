"""The embedded trace store as a process beside the servers."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from services.ctl.servers.command import Command, NotReady
from services.ctl.servers.free import LOOPBACK

_ANSWER_SECONDS = 2.0
ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class TraceServer:
    """Takes spans by OTLP, keeps them in one file and passes them on."""

    file: Path
    port: int
    log: Path
    forward: str = ""
    """Another OTLP/gRPC collector; none when empty."""
    name: str = "traces"

    @property
    def url(self) -> str:
        """Where spans are sent."""
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Nothing is to be prepared: the store makes its file."""

    def command(self) -> Command:
        """Return what starts it."""
        arguments = [sys.executable, "-m", "services.ctl.traces"]
        arguments += ["--listen", f"{LOOPBACK}:{self.port}", "--file", str(self.file)]
        arguments += ["--forward", self.forward] if self.forward else []
        return Command(arguments=tuple(arguments), log=self.log, directory=ROOT)

    async def probe(self) -> None:
        """Ask whether it listens; a trace that is lost is no reason for more."""
        address = (LOOPBACK, self.port)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                _, writer = await asyncio.open_connection(*address)
        except (OSError, TimeoutError) as error:
            raise NotReady(f"nothing listens on port {self.port}: {error!r}") from error
        writer.close()
        await writer.wait_closed()
