"""A server as a child of this process: started, asked until it answers, stopped at the end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from services.ctl.servers.command import Command, NotReady, Probe, ServerFailed, last_line
from services.ctl.servers.free import is_free

START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
S = TypeVar("S", bound="ChildServer")


class ChildServer(ABC):
    """One server and the process that runs it. Killing and launching again keeps port and data."""

    name: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Write what the server needs before it starts; may block."""

    @abstractmethod
    def command(self) -> Command:
        """What starts the server."""

    @abstractmethod
    async def probe(self) -> None:
        """Ask the server; `NotReady` says why it does not work."""

    async def launch(self) -> None:
        """Start the process and return when it answers; `ServerFailed` when it does not."""
        if not is_free(self.port):
            raise ServerFailed(port_taken(self.name, self.port))
        await asyncio.to_thread(self.prepare)
        command = self.command()
        self.process = command.spawn()
        await answers(self.name, command, self.probe, self.process.poll)

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    async def stop(self) -> None:
        """Ask the process to end, and end it when it takes too long."""
        self._signal(self.command().stop_signal)
        deadline = time.monotonic() + STOP_SECONDS
        while self.process is not None and self.process.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
            await asyncio.sleep(POLL_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


def port_taken(name: str, port: int) -> str:
    """The line for a port that something else listens on."""
    return f"{name} needs port {port}, which is in use: stop what listens there or choose another"


async def answers(
    name: str,
    command: Command,
    probe: Probe,
    exit_code: Callable[[], int | None],
    seconds: float = START_SECONDS,
) -> None:
    """Return when the process answers; `ServerFailed` when it ends or stays silent."""
    deadline = time.monotonic() + seconds
    while True:
        code = exit_code()
        if code is not None:
            said = last_line(command.log)
            raise ServerFailed(f"{name} ended with code {code}: {said} (log: {command.log})")
        try:
            return await probe()
        except NotReady as reason:
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"{name} is not ready after {seconds:.0f} s: {reason} (log: {command.log})"
                ) from None
        await asyncio.sleep(POLL_SECONDS)


@contextlib.asynccontextmanager
async def running(server: S) -> AsyncIterator[S]:
    """Launch the server, yield it, and stop it whatever happens."""
    try:
        await server.launch()
        yield server
    finally:
        await server.stop()
