"""A mesh of real Envoys on one machine: analytics calls replicas of exec_risk, an echo service."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import yaml

from services.catalog.processes import ANALYTICS, EXEC_RISK
from services.ctl import policy
from services.ctl.certs import Authority, Leaf
from services.ctl.delivery import Delivery
from services.ctl.policy import Policy
from services.ctl.render import endpoints
from services.ctl.render.sidecar import Sidecar, render
from services.ctl.render.tracing import Tracing
from services.ctl.render.transport import Credentials
from services.ctl.servers.child import running
from services.ctl.servers.envoy import EnvoyServer
from services.ctl.servers.free import free_port
from tests.support.eventually import eventually

PROGRAM = Path(__file__).with_name("echo_service.py")
READ = f"/{EXEC_RISK.grpc_service}/ListPositions"
WRITE = f"/{EXEC_RISK.grpc_service}/ClosePosition"
OUTSIDE = f"/{EXEC_RISK.grpc_service}/ListOrders"
"""A method that analytics may not call here."""
SETTLE = timedelta(seconds=1)
_ids = itertools.count()


def rules(folder: Path) -> Policy:
    """Return the table with one edge more: analytics reads and writes at exec_risk."""
    table = yaml.safe_load(policy.FILE.read_text())
    for call in table["calls"]:
        if (call["from"], call["to"]) == (ANALYTICS.key, EXEC_RISK.key):
            call["methods"] += [READ.lstrip("/"), WRITE.lstrip("/")]
    file = folder / "policy.yaml"
    file.write_text(yaml.safe_dump(table))
    return policy.load(file)


@dataclass
class Replica:
    """A service process and the sidecar before it."""

    name: str
    port: int
    admin: int
    socket: Path
    journal: Path
    bootstrap: Path
    sidecar: EnvoyServer
    process: asyncio.subprocess.Process | None = None

    async def begin(self) -> None:
        """Start the service."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), f"unix:{self.socket}", self.name, str(self.journal)
        )
        async with grpc.aio.insecure_channel(f"unix:{self.socket}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)

    async def kill(self) -> None:
        """Kill the service; its sidecar stays."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def end(self) -> None:
        """Stop the service in order, then its sidecar."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
        await self.sidecar.drain()
        await self.sidecar.stop()

    @property
    def begun(self) -> list[str]:
        """Ids of the calls that the service has begun."""
        return self.journal.read_text().split() if self.journal.exists() else []


@dataclass
class SmallMesh:
    """Certificates, the caller's sidecar and the replicas."""

    folder: Path
    rules: Policy
    authority: Authority
    certificates: Delivery
    outbound: Path
    caller: EnvoyServer
    connection_seconds: float
    tracing: Tracing | None = None
    replicas: dict[str, Replica] = field(default_factory=dict)

    def tell(self, names: Sequence[str] | None = None) -> None:
        """Write which replicas there are."""
        chosen = self.replicas if names is None else names
        at = [f"127.0.0.1:{self.replicas[name].port}" for name in chosen]
        endpoints.write(self.folder, EXEC_RISK.key, at)

    async def add(self, name: str) -> Replica:
        """Start a replica with its sidecar; nobody is told yet."""
        port, admin = free_port(), free_port()
        socket = self.folder / f"{name}.sock"
        bootstrap = render(
            self.folder / f"{name}.yaml",
            Sidecar(
                instance=name,
                process=EXEC_RISK,
                service=f"unix:{socket}",
                inbound=f"127.0.0.1:{port}",
                outbound="",
                admin=f"127.0.0.1:{admin}",
                credentials=Credentials(self.folder / "c" / EXEC_RISK.key),
                connection_seconds=self.connection_seconds,
                tracing=self.tracing,
            ),
            self.rules,
        )
        log = self.folder / f"{name}.log"
        sidecar = EnvoyServer(bootstrap=bootstrap, port=admin, log=log, name=name)
        journal = self.folder / f"{name}.journal"
        made = Replica(name, port, admin, socket, journal, bootstrap, sidecar)
        self.replicas[name] = made
        await asyncio.gather(sidecar.launch(), made.begin())
        return made

    @contextlib.asynccontextmanager
    async def through(self) -> AsyncIterator[grpc.aio.Channel]:
        """Open a channel as analytics does: to its own sidecar, the callee by authority."""
        options = [("grpc.default_authority", EXEC_RISK.name)]
        async with grpc.aio.insecure_channel(f"unix:{self.outbound}", options=options) as channel:
            yield channel

    @contextlib.asynccontextmanager
    async def straight(
        self, replica: Replica, leaf: Leaf | None, trust: str = ""
    ) -> AsyncIterator[grpc.aio.Channel]:
        """Open a channel to a sidecar's own door, with this certificate or none."""
        credentials = grpc.ssl_channel_credentials(
            (trust or self.authority.trust).encode(),
            leaf.key.encode() if leaf else None,
            leaf.certificate.encode() if leaf else None,
        )
        options = [("grpc.ssl_target_name_override", EXEC_RISK.name)]
        target = f"127.0.0.1:{replica.port}"
        async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
            yield channel


async def call(channel: grpc.aio.Channel, method: str, seconds: float = 0) -> tuple[str, str]:
    """Make a call and return its id and the answer."""
    identity = f"call-{next(_ids)}"
    told = await ask(channel, method, f"{identity} {seconds}")
    return identity, told


async def ask(channel: grpc.aio.Channel, method: str, request: str, **options: Any) -> str:
    """Make a call with this text and return the answer."""
    stub: Any = channel.unary_unary(method)
    told: bytes = await stub(request.encode(), **{"timeout": 8, **options})
    return told.decode()


async def under_load(
    mesh: SmallMesh,
    work: Callable[[], Awaitable[object]],
    *,
    method: str = READ,
    seconds: float = 0,
    callers: int = 6,
) -> Counter[str]:
    """Call without pause while the work goes on; return how many calls each replica answered.

    A call that fails ends it with that call's error.
    """
    answered: Counter[str] = Counter()
    ended = asyncio.Event()

    async def caller(channel: grpc.aio.Channel) -> None:
        while not ended.is_set():
            _, told = await call(channel, method, seconds)
            answered[told.split()[0]] += 1

    async with mesh.through() as channel, asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller(channel))
        await asyncio.sleep(0.3)
        await work()
        await asyncio.sleep(0.3)
        ended.set()
    return answered


@contextlib.asynccontextmanager
async def small_mesh(
    replicas: int = 2, connection_seconds: float = 0.5, tracing: Tracing | None = None
) -> AsyncIterator[SmallMesh]:
    """Run the caller's sidecar and so many replicas.

    Connections are short-lived: certificates are looked at when a new one is made.
    """
    with tempfile.TemporaryDirectory(prefix="qt-mesh-") as name:
        folder = Path(name)
        table = rules(folder)
        authority = Authority(folder / "ca", table, settle=SETTLE)
        certificates = Delivery(
            authority=authority, folder=folder / "c", identities=table.identities
        )
        certificates.tend()
        outbound = folder / "analytics.out"
        admin = free_port()
        endpoints.write(folder, EXEC_RISK.key, [])
        bootstrap = render(
            folder / "analytics.yaml",
            Sidecar(
                instance="analytics",
                process=ANALYTICS,
                service=f"unix:{folder}/analytics.sock",
                inbound=f"127.0.0.1:{free_port()}",
                outbound=f"unix:{outbound}",
                admin=f"127.0.0.1:{admin}",
                credentials=Credentials(folder / "c" / ANALYTICS.key),
                peers={EXEC_RISK.key: endpoints.folder(folder)},
                tracing=tracing,
            ),
            table,
        )
        log = folder / "analytics.log"
        caller = EnvoyServer(bootstrap=bootstrap, port=admin, log=log, name="analytics")
        mesh = SmallMesh(
            folder, table, authority, certificates, outbound, caller, connection_seconds, tracing
        )
        try:
            async with running(caller):
                await asyncio.gather(*(mesh.add(f"r{n}") for n in range(1, replicas + 1)))
                mesh.tell()
                await eventually(partial(all_answer, mesh), 20)
                yield mesh
        finally:
            for replica in mesh.replicas.values():
                await replica.kill()
                replica.sidecar.kill()


async def all_answer(mesh: SmallMesh) -> bool:
    """Tell whether every replica gets calls."""
    seen = set()
    async with mesh.through() as channel:
        for _ in range(20):
            try:
                _, told = await call(channel, READ)
            except grpc.aio.AioRpcError:
                return False  # the caller's sidecar has not taken the endpoints yet
            seen.add(told.split()[0])
    return seen == set(mesh.replicas)
