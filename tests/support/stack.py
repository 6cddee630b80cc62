"""The whole system as an operator starts it: `qt up` in a home of its own, on free ports."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import asyncpg

from services.ctl import tokens
from services.ctl.supervisor.home import Home, read_json

UP_SECONDS = 240
COMMAND_SECONDS = 60
DATA = Path(os.environ.get("QUANTUM_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def recorded_market() -> str:
    """Return the recorded market where it is present, else the generated one."""
    recorded = DATA / "perp-1m-2025-05"
    return str(recorded) if recorded.is_dir() else "generated"


class Stack:
    """One running system."""

    def __init__(
        self,
        root: Path,
        *,
        market: str = "generated",
        speed: float = 0,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings` are added to the environment of every process."""
        self.settings = dict(settings or {})
        self.home = Home(root)
        self.market = market
        self.speed = speed

    def qt(self, *arguments: str, seconds: float = COMMAND_SECONDS, check: bool = True) -> str:
        """Run a `qt` command on this home and return what it printed."""
        command = [sys.executable, "-m", "services.ctl", *arguments, f"--home={self.home.root}"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, **self.settings},
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}{self.tails()}")
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run a `qt` command with `--json` and return what it answered."""
        return json.loads(self.qt(*arguments, "--json"))

    def up(self) -> None:
        """Start, or resume, detached."""
        self.qt(
            "up",
            "--detach",
            "--ports=auto",
            f"--market={self.market}",
            f"--speed={self.speed:g}",
            seconds=UP_SECONDS,
        )

    def down(self) -> None:
        """Stop everything."""
        self.qt("down", check=False)

    @contextmanager
    def running(self) -> Iterator[Stack]:
        """Run it for the time of a `with`."""
        try:
            self.up()
            yield self
        finally:
            self.down()

    def tails(self) -> str:
        """Return the last lines of every log, for a failed test."""
        parts = []
        for log in sorted(self.home.logs.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-12:]
            parts.append("\n".join([f"--- {log.name}", *lines]))
        return "\n".join(["", *parts])

    @property
    def endpoints(self) -> dict[str, Any]:
        """Where everything listens."""
        return read_json(self.home.endpoints_file)

    @property
    def ingress(self) -> str:
        """The gateway, host:port."""
        return str(self.endpoints["gateway"]["ingress"]).removeprefix("http://")

    def shows_token(self) -> dict[str, str]:
        """Return the header with the operator's token, for calls that change something."""
        return {"Authorization": f"Bearer {tokens.read_token(self.home)}"}

    def pid(self, name: str) -> int:
        """Return the process id of an instance."""
        return int(read_json(self.home.processes_file)[name]["pid"])

    def pids(self) -> dict[str, int]:
        """Return the process id of every instance."""
        return {n: int(e["pid"]) for n, e in read_json(self.home.processes_file).items()}

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to an instance."""
        os.kill(self.pid(name), number)

    async def get(self, url: str) -> tuple[int, Any]:
        """GET JSON."""
        limit = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as answer:
            return answer.status, await answer.json(content_type=None)

    async def health(self, service: str) -> dict[str, Any]:
        """GET `/health` on the service's own port; empty when it does not answer."""
        try:
            status, body = await self.get(f"{self.endpoints['gateway'][service]}/health")
        except (aiohttp.ClientError, TimeoutError):
            return {}
        return body if status == 200 else {}

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """Connect as the operators' role, which reads everything."""
        password = self.home.identities().password_file("quantum_user").read_text()
        dsn = f"postgresql://quantum_user@{self.endpoints['postgres']}/quantum_trader"
        connection = await asyncpg.connect(dsn, password=password)
        try:
            yield connection
        finally:
            await connection.close()

    async def rows(self, statement: str, *values: Any) -> list[Any]:
        """Ask the database as operators do."""
        async with self.database() as connection:
            return list(await connection.fetch(statement, *values))

    async def venue(self, path: str, **parameters: Any) -> Any:
        """Ask the paper venue with a signed request."""
        known = self.home.secrets()
        query = urlencode({**parameters, "timestamp": int(time.time() * 1000), "recvWindow": 5000})
        sign = hmac.new(known["api_secret"].encode(), query.encode(), hashlib.sha256).hexdigest()
        url = f"{self.endpoints['venue']}{path}?{query}&signature={sign}"
        async with (
            aiohttp.ClientSession(headers={"X-MBX-APIKEY": known["api_key"]}) as session,
            session.get(url) as answer,
        ):
            body = await answer.json()
            assert answer.status == 200, body
            return body

    async def closed_trades(self) -> int:
        """Return how many positions were closed so far."""
        async with self.database() as connection:
            return int(
                await connection.fetchval("select count(*) from positions where status = 'closed'")
            )

    async def until_closed(self, trades: int, deadline: float) -> None:
        """Wait until so many positions were closed."""
        end = time.monotonic() + deadline
        while (seen := await self.closed_trades()) < trades:
            if time.monotonic() > end:
                raise AssertionError(f"{seen} of {trades} trades closed{self.tails()}")
            await asyncio.sleep(0.3)

    async def last_round(self) -> datetime:
        """Return the market time of the last round that the ledger holds."""
        async with self.database() as connection:
            found = await connection.fetchval(
                "select max(timestamp) from analytics.events where type = 'round.decided'"
            )
        assert isinstance(found, datetime)
        return found

    async def round_reached(self, time: datetime) -> bool:
        """Tell whether the ledger holds a round of this market time."""
        return await self.last_round() >= time

    async def quiet(self) -> bool:
        """Tell whether analytics alerts of nothing but what a streak of lost trades leads to."""
        alerts = (await self.health("analytics"))["alerts"]
        return [alert for alert in alerts if alert["type"] != "SAFETY_LEVEL"] == []
