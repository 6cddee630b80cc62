"""`qt run SERVICE`: one service under supervision in the foreground; what a container runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from services.catalog.processes import SERVICES, process
from services.ctl import policy
from services.ctl.discovery import discovered
from services.ctl.policy import GATEWAY
from services.ctl.servers.command import Command, ServerFailed
from services.ctl.servers.free import LOOPBACK, free_port
from services.ctl.settings import GatewaySettings
from services.ctl.supervisor.addresses import WELL_KNOWN
from services.ctl.supervisor.container import MeshSettings, behind_sidecar
from services.ctl.supervisor.front_door import DoorSettings, FrontDoor
from services.ctl.supervisor.home import Refused
from services.ctl.supervisor.probes import HealthProbe
from services.ctl.supervisor.recovery import BusPlace, Recoveries
from services.ctl.supervisor.topology import ROOT, python_program
from services.ctl.supervisor.unit import Unit
from services.ctl.supervisor.watch import Watch, untold
from services.kit import settings
from services.kit.bus.login import BusLogin

TEND_SECONDS = 1.0


def run(
    service: Annotated[
        str, typer.Argument(help="ai, exec_risk, analytics, trainer, venue or gateway.")
    ],
) -> None:
    """Run one service, restart it when it hangs or dies; settings come from the environment.

    Example: NATS_URL=nats://127.0.0.1:4222 qt run ai
    """
    if service == GATEWAY:
        asyncio.run(_gateway())
    else:
        units = behind_sidecar(_unit(service), settings.load(MeshSettings))
        asyncio.run(keep(units, bus=_bus(service)))


async def _gateway() -> None:
    door = FrontDoor(
        settings=settings.load(DoorSettings),
        mesh=settings.load(MeshSettings),
        gateway=await asyncio.to_thread(discovered, settings.load(GatewaySettings)),
        policy=policy.load(),
        ports=WELL_KNOWN,
    )
    unit = await asyncio.to_thread(door.unit)
    tending = asyncio.create_task(_tend(door), name="credentials")
    try:
        await keep([unit])
    finally:
        tending.cancel()


async def _tend(door: FrontDoor) -> None:
    while True:
        await asyncio.sleep(TEND_SECONDS)
        try:
            await asyncio.to_thread(door.tend)
        except OSError as error:
            sys.stderr.write(f"qt: credentials of the gateway: {error}\n")


def _bus(service: str) -> BusPlace | None:
    """Return where requests for a service come from; the venue is on no bus."""
    names = process(service)
    if names not in SERVICES:
        return None
    own = settings.load(settings.ProcessSettings)
    login = BusLogin(names.key, own.nats_nkey_file, own.nats_ca_file)
    return BusPlace(own.nats_url, login, names.name)


def _unit(service: str) -> Unit:
    try:
        names = process(service)
    except KeyError as error:
        raise Refused(str(error.args[0])) from None
    host, _, port = os.environ.get("GRPC_ADDRESS", f"{LOOPBACK}:0").rpartition(":")
    address = f"{host}:{port if port != '0' else free_port()}"
    local = address.replace("0.0.0.0", LOOPBACK)  # noqa: S104 - the probe asks this machine
    probe = HealthProbe(local)
    # replicas in containers have the same process id, and often no other name than the host's
    instance = os.environ.get("SERVICE_INSTANCE") or f"{names.key}-{socket.gethostname()}"[:64]
    return Unit(
        name=instance,
        service=names.key,
        command=Command(
            arguments=python_program(names.key),
            log=None,
            directory=ROOT,
            environment={"GRPC_ADDRESS": address, "SERVICE_INSTANCE": instance},
        ),
        live=probe.of(""),
        ready=probe.of(names.grpc_service),
        address=address,
    )


async def keep(units: Sequence[Unit], *, bus: BusPlace | None = None) -> None:
    """Keep the units running until a signal, in this order; ServerFailed when one gives up.

    On the bus it hears what analytics asks for, and tells what it did.
    """
    stop = asyncio.Event()
    told: dict[str, str] = {}

    def changed() -> None:
        for watch in watches:
            line = f"qt: {watch.unit.name} {watch.state} {watch.reason}".rstrip()
            if told.get(watch.unit.name) != line:
                told[watch.unit.name] = line
                sys.stderr.write(line + "\n")
            if watch.failed:
                stop.set()

    recoveries = Recoveries(bus, lambda: watches) if bus else None
    restarted = recoveries.restarted if recoveries else untold
    watches = [Watch(unit, changed=changed, restarted=restarted) for unit in units]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    for watch in watches:
        watch.begin()
    healing = asyncio.create_task(recoveries.run(), name="recoveries") if recoveries else None
    await stop.wait()
    if healing is not None:
        healing.cancel()
        await asyncio.gather(healing, return_exceptions=True)
    failures = [watch.reason for watch in watches if watch.failed]
    for watch in reversed(watches):
        with contextlib.suppress(asyncio.CancelledError):
            await watch.stop()
    if failures:
        raise ServerFailed(failures[0])
