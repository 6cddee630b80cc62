"""The screen of `qt up`: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from services.ctl.supervisor.supervisor import Supervisor
from services.ctl.terminal import tables
from services.ctl.terminal.feed import Feed

REFRESH_SECONDS = 0.5
ACCOUNT_SECONDS = 10.0


def where(endpoints: dict[str, str], logs: str, traces: str, metrics: str) -> list[str]:
    """Return where everything is, for people."""
    health = ", ".join(f"{endpoints[key]}/health" for key in ("ai", "exec_risk", "analytics"))
    return [
        f"gateway   {endpoints['ingress']}  (gRPC, gRPC-Web, REST under /v1; /openapi.json)",
        f"with TLS  {endpoints['tls']}  (takes a token: `qt token --role viewer`)",
        f"health    {health}",
        f"logs      {logs}  (`qt logs SERVICE -f`)",
        f"traces    {traces}",
        f"metrics   {metrics}",
        "stop      Ctrl-C here, or `qt down`",
    ]


async def show(supervisor: Supervisor, console: Console) -> None:
    """Show the system until cancelled."""
    feed = Feed()
    following: asyncio.Task[None] | None = None
    plain = _Plain(supervisor, feed, console)
    live = Live(console=console, auto_refresh=False, transient=False)
    try:
        if console.is_terminal:
            live.start()
        while True:
            if following is None and supervisor.phase == "running":
                following = asyncio.create_task(feed.follow(supervisor.home), name="feed")
            if console.is_terminal:
                live.update(_screen(supervisor, feed), refresh=True)
            else:
                plain.print_changes()
            await asyncio.sleep(REFRESH_SECONDS)
    finally:
        if following is not None:
            following.cancel()
        if console.is_terminal:
            live.update(_screen(supervisor, feed), refresh=True)
            live.stop()
        else:
            plain.print_changes()


def rows(supervisor: Supervisor) -> list[dict[str, Any]]:
    """Return the processes as the tables take them."""
    return [asdict(row) for row in supervisor.rows()]


def _screen(supervisor: Supervisor, feed: Feed) -> Group:
    title = f"Quantum Trader: {supervisor.phase}"
    found = rows(supervisor)
    parts: list[RenderableType] = [tables.processes(found, title)]
    parts += [Text(line, "bold red") for line in tables.alerts(found)]
    if supervisor.phase == "running":
        endpoints = supervisor.topology.addresses
        gateway = endpoints.gateway()
        told = (supervisor.topology.traces_told, supervisor.topology.metrics_told)
        parts += [Text(line) for line in where(gateway, str(supervisor.home.logs), *told)]
        held = [position for position in feed.positions if position.status == "open"]
        parts += [
            Text(tables.account_line(feed.account) if feed.account else "", "bold"),
            tables.signals(feed.signals, "signals"),
            tables.orders(feed.orders[:8], "orders"),
            tables.positions(held[:8], "open positions"),
        ]
        if feed.trouble:
            parts.append(Text(f"trading cannot be read now: {feed.trouble}", "yellow"))
    return Group(*parts)


class _Plain:
    """Prints what changed, one line each."""

    def __init__(self, supervisor: Supervisor, feed: Feed, console: Console) -> None:
        self._supervisor = supervisor
        self._feed = feed
        self._console = console
        self._states: dict[str, str] = {}
        self._alerted: set[str] = set()
        self._told_where = False
        self._until_account = 0.0

    def print_changes(self) -> None:
        for row in self._supervisor.rows():
            told = f"{row.state} {row.reason}".strip()
            if self._states.get(row.name) != told:
                self._states[row.name] = told
                self._print(f"{row.name:<12} {told}  {row.address}")
            # the count in an alert grows: it is told once, until it is over
            if bool(row.alert) is not (row.name in self._alerted):
                self._alerted ^= {row.name}
                self._print(f"{row.name:<12} ALERT {row.alert or 'is over'}")
        if self._supervisor.phase == "running" and not self._told_where:
            self._told_where = True
            addresses = self._supervisor.topology.addresses
            topology = self._supervisor.topology
            seen = (topology.traces_told, topology.metrics_told)
            self._print_all(where(addresses.gateway(), str(self._supervisor.home.logs), *seen))
        while self._feed.lines:
            self._print(self._feed.lines.popleft())
        self._until_account -= REFRESH_SECONDS
        if self._feed.account is not None and self._until_account <= 0:
            self._until_account = ACCOUNT_SECONDS
            self._print(tables.account_line(self._feed.account))

    def _print_all(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._print(line)

    def _print(self, line: str) -> None:
        # where there is no terminal this is a log, and `qt logs --since` asks it for times
        line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
