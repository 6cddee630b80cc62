"""`qt up`: start the whole system here and show it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.ctl.commands.options import DEFAULT_HOME, HomeOption
from services.ctl.discovery import discovered
from services.ctl.servers.command import ServerFailed, last_line
from services.ctl.settings import GatewaySettings, SystemSettings
from services.ctl.supervisor.addresses import DEFAULT, Addresses
from services.ctl.supervisor.asking import NotRunning, ask
from services.ctl.supervisor.control import Control
from services.ctl.supervisor.home import Home, Refused, read_json, write_json
from services.ctl.supervisor.market import claim
from services.ctl.supervisor.selection import Selection
from services.ctl.supervisor.supervisor import Supervisor
from services.ctl.supervisor.topology import Options, Topology
from services.ctl.terminal import screen
from services.kit import settings

DETACHED_SECONDS = 240.0
PACES = ("lockstep", "free")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for."""

    market: str | None
    speed: float | None
    pace: str
    seed: int | None
    home: Path
    ports: str
    mesh: bool
    services: tuple[str, ...] = ()
    """Parts that were named; none means everything."""

    def arguments(self) -> list[str]:
        """Return the command line again, for the detached supervisor."""
        given = [f"--home={self.home.resolve()}", f"--ports={self.ports}", f"--pace={self.pace}"]
        given += [f"--market={self.market}"] if self.market else []
        given += [f"--speed={self.speed}"] if self.speed is not None else []
        given += [f"--seed={self.seed}"] if self.seed is not None else []
        given += [] if self.mesh else ["--no-mesh"]
        return given


def up(
    services: Annotated[
        list[str] | None,
        typer.Argument(help="Parts, for example postgres or ai-service; all when none is named."),
    ] = None,
    market: Annotated[
        str | None,
        typer.Option(help="generated, live, or a folder of recorded candles [default: generated]"),
    ] = None,
    speed: Annotated[
        float | None, typer.Option(help="Candle-minutes a second, at most; 0: no limit.")
    ] = None,
    pace: Annotated[str, typer.Option(help="lockstep or free.")] = "lockstep",
    seed: Annotated[int | None, typer.Option(help="Seed of the generated market.")] = None,
    home: HomeOption = DEFAULT_HOME,
    ports: Annotated[
        str, typer.Option(help="default, auto, or five numbers: ingress,ai,exec_risk,analytics,tls")
    ] = DEFAULT,
    mesh: Annotated[
        bool, typer.Option("--mesh/--no-mesh", help="Sidecars and mutual TLS between services.")
    ] = True,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready.")] = False,
) -> None:
    """Start the system on this machine, or the named parts and what they need.

    Starting again resumes it; where it runs already, what is missing of the parts is added.

    Example: qt up --market ../shared/data/perp-1m-2025-05 --speed 60

    Example: qt up --detach postgres nats, then qt up ai, then qt up
    """
    if pace not in PACES:
        raise Refused(f"--pace {pace}: say lockstep or free")
    if speed is not None and speed < 0:
        raise Refused(f"--speed {speed:g}: must not be below 0")
    chosen = Selection.of(services or ())
    request = Request(market, speed, pace, seed, home, ports, mesh, tuple(services or ()))
    if Home(home).supervised():
        _add(request)
    elif detach:
        _detached(request)
    else:
        asyncio.run(_foreground(request, chosen))


def _add(request: Request) -> None:
    """Have the supervisor that runs start what is missing."""
    home = Home(request.home)
    if (request.market, request.speed, request.seed) != (None, None, None):
        raise Refused(
            f"{home.root} is already running: its market, speed and seed stay until `qt down`"
        )
    with Console(stderr=True).status("starting"):
        path = f"/start/{','.join(request.services)}" if request.services else "/start"
        started = asyncio.run(ask(home, "POST", path))["started"]
    if not started:
        raise Refused(f"{home.root} is already running: `qt ps` shows it, `qt down` stops it")
    typer.echo(f"started {', '.join(started)}")


async def _foreground(request: Request, chosen: Selection) -> None:
    home = Home(request.home)
    with home.lock():
        addresses = Addresses.load(home, request.ports)
        if not read_json(home.processes_file):
            addresses.require_public_free()
        market = claim(home, request.market, request.seed)
        options = Options(
            market=market,
            speed=request.speed,
            pace=request.pace,
            mesh=request.mesh,
            collector=settings.load(settings.ProcessSettings).otel_exporter_otlp_endpoint,
            gateway=await asyncio.to_thread(discovered, settings.load(GatewaySettings)),
            trainer=settings.load(SystemSettings).trainer,
        )
        # what a restore starts it with
        write_json(home.root / "up.json", {"arguments": request.arguments()[1:]})
        topology = Topology(home=home, addresses=addresses, options=options)
        await supervise(Supervisor(home=home, topology=topology, chosen=chosen), Console())


async def supervise(supervisor: Supervisor, console: Console) -> None:
    """Start, show and keep the system until a signal or `qt down`; then stop it."""
    loop = asyncio.get_running_loop()
    signals = 0

    def asked() -> None:
        nonlocal signals
        signals += 1
        supervisor.stop_asked.set()
        if signals > 1:
            supervisor.hurry.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, asked)
    async with Control(supervisor).serve():
        shown = asyncio.create_task(screen.show(supervisor, console), name="screen")
        try:
            while await _once(supervisor):
                supervisor.begin_anew()
        finally:
            shown.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await shown


async def _once(supervisor: Supervisor) -> bool:
    """Start and keep everything, and stop it; True when it shall start again."""
    starting = asyncio.create_task(supervisor.start(), name="start")
    stopping = asyncio.create_task(supervisor.stop_asked.wait(), name="stop asked")
    again = asyncio.create_task(supervisor.again.wait(), name="restart asked")
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        tasks = (starting, stopping, again)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await supervisor.stop()
    return not supervisor.stop_asked.is_set()


def _detached(request: Request) -> None:
    home = Home(request.home)
    home.create()
    log = home.logs / "supervisor.log"
    log.write_text("")
    with log.open("ab") as output:
        running = subprocess.Popen(
            (sys.executable, "-m", "services.ctl", "up", *request.arguments(), *request.services),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    asyncio.run(_until_running(home, running, log))
    endpoints = read_json(home.endpoints_file)
    told = (endpoints["traces_told"], endpoints["metrics_told"])
    for line in screen.where(endpoints["gateway"], str(home.logs), *told):
        typer.echo(line)


async def _until_running(home: Home, running: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DETACHED_SECONDS
    while time.monotonic() < deadline:
        if running.poll() is not None:
            raise ServerFailed(last_line(log, 1_000).removeprefix("qt: "))
        with contextlib.suppress(NotRunning):
            if (await ask(home, "GET", "/status"))["phase"] == "running":
                return
        await asyncio.sleep(0.2)
    raise ServerFailed(f"not running after {DETACHED_SECONDS:.0f} s: see {log}, stop: `qt down`")
