"""A whole system of real servers and stand-in services, for tests of the supervisor."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from services.ctl.supervisor.addresses import AUTO, Addresses
from services.ctl.supervisor.home import Home
from services.ctl.supervisor.market import Market
from services.ctl.supervisor.selection import Selection
from services.ctl.supervisor.supervisor import Supervisor
from services.ctl.supervisor.topology import Options, Topology

PROGRAM = Path(__file__).with_name("stand_in.py")


def program(key: str) -> tuple[str, ...]:
    """Start the stand-in instead of the service."""
    return (sys.executable, str(PROGRAM), key)


def supervisor(
    home: Home,
    speed: float | None = None,
    *,
    mesh: bool = True,
    chosen: Selection | None = None,
) -> Supervisor:
    """Make a supervisor of stand-ins on free ports, of all parts or of those chosen."""
    home.create()
    topology = Topology(
        home=home,
        addresses=Addresses.load(home, AUTO),
        options=Options(market=Market("generated"), speed=speed, mesh=mesh),
        program=program,
    )
    return Supervisor(home=home, topology=topology, chosen=chosen)


@contextlib.asynccontextmanager
async def running(
    home: Home, speed: float | None = None, *, mesh: bool = True
) -> AsyncIterator[Supervisor]:
    """Start it, yield it, and stop it whatever happens."""
    made = supervisor(home, speed, mesh=mesh)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
