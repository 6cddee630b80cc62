"""A unary call: straight to the service, through two sidecars, through gateway and sidecar.

Proxies trace as they do in a running system: the gateway begins its share of traces.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import psutil

from services.catalog.processes import EXEC_RISK, SERVICES, Process
from services.ctl.policy import GATEWAY
from services.ctl.render import endpoints, gateway
from services.ctl.render.tracing import Tracing
from services.ctl.render.transport import Credentials
from services.ctl.servers.child import running
from services.ctl.servers.envoy import EnvoyServer
from services.ctl.servers.free import LOOPBACK, free_port
from services.ctl.servers.traces import TraceServer
from services.ctl.settings import GatewaySettings
from services.ctl.supervisor.door import Credentials as FrontDoor
from services.ctl.supervisor.home import Home
from tests.benchmarks.rows import Row, median, percentile
from tests.support.eventually import eventually
from tests.support.small_mesh import READ, SmallMesh, ask, small_mesh

AIM_MS = 1.5
AIM_BALANCE = 0.10
ROUNDS = 8
CALLS = 250
"""One after the other, of each path in each round: what else runs hits all paths alike."""
CALLERS = 16
SECONDS = 1.0
EQUAL_SECONDS = 0.02


@dataclass
class Way:
    """One way to the service and what was measured on it."""

    name: str
    channel: grpc.aio.Channel
    proxies: Sequence[psutil.Process]
    milliseconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    """Of its proxies, a call, with many callers."""
    answered: Counter[str] = field(default_factory=Counter)

    async def one_by_one(self) -> None:
        """Measure how long a call takes."""
        for number in range(CALLS):
            began = time.perf_counter()
            await ask(self.channel, READ, f"{number} 0")
            self.milliseconds.append(1000 * (time.perf_counter() - began))

    async def many_at_once(self) -> None:
        """Measure how many calls a second many callers make."""
        began, used = time.perf_counter(), self._cpu()
        made = (await self._load(SECONDS, "x 0")).total()
        self.rates.append(made / (time.perf_counter() - began))
        self.cpu_us.append(1e6 * (self._cpu() - used) / made)

    async def evenly(self) -> None:
        """Count who answers calls of equal length: shorter ones go to whom the machine lets run."""
        self.answered += await self._load(SECONDS, f"x {EQUAL_SECONDS}")

    async def _load(self, seconds: float, request: str) -> Counter[str]:
        began = time.perf_counter()
        answered: Counter[str] = Counter()

        async def caller() -> None:
            while time.perf_counter() - began < seconds:
                answered[(await ask(self.channel, READ, request)).split()[0]] += 1

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return answered

    def _cpu(self) -> float:
        times = [process.cpu_times() for process in self.proxies]
        return float(sum(t.user + t.system for t in times))

    @property
    def p50(self) -> float:
        """Median time of a call, milliseconds."""
        return median(self.milliseconds)

    @property
    def p99(self) -> float:
        """Time that one call in a hundred takes longer than, milliseconds."""
        return percentile(self.milliseconds, 0.99)

    @property
    def described(self) -> str:
        """All of it in a line."""
        rate, cpu = median(self.rates), median(self.cpu_us)
        return (
            f"p50 {self.p50:.2f} ms, p99 {self.p99:.2f} ms, {rate:,.0f} calls/s,"
            f" {cpu:.0f} µs of proxies a call"
        )

    @property
    def imbalance(self) -> float:
        """Largest difference of a replica's share from the even one, as a part of the even one."""
        even = self.answered.total() / len(self.answered)
        return max(abs(count - even) for count in self.answered.values()) / even


async def measure(home: Path) -> list[Row]:
    """Return what sidecars and gateway add at the median, and how even replicas are used."""
    async with (
        _collector(home) as tracing,
        small_mesh(2, 600, tracing) as mesh,
        _gateway(mesh, tracing) as door,
    ):
        first = mesh.replicas["r1"]
        async with (
            grpc.aio.insecure_channel(f"unix:{first.socket}") as straight,
            mesh.through() as pair,
            grpc.aio.insecure_channel(f"127.0.0.1:{door.port}") as ingress,
        ):
            sidecars = [_of(replica.sidecar) for replica in mesh.replicas.values()]
            paths = [
                Way("straight", straight, []),
                Way("a pair of sidecars", pair, [_of(mesh.caller), *sidecars]),
                Way("gateway and sidecar", ingress, [_of(door.server), *sidecars]),
            ]
            for path in paths:
                await eventually(partial(_answers, path.channel), 20)
            for _ in range(ROUNDS):
                for path in paths:
                    await path.one_by_one()
                for path in paths:
                    await path.many_at_once()
                for path in paths[1:]:
                    await path.evenly()
    floor, *others = paths
    return [_slower(path, floor) for path in others] + [_even(path) for path in others]


@contextlib.asynccontextmanager
async def _collector(home: Path) -> AsyncIterator[Tracing]:
    server = TraceServer(file=home / "spans.sqlite", port=free_port(), log=home / "traces.log")
    process = await asyncio.create_subprocess_exec(*server.command().arguments)
    try:
        yield Tracing(LOOPBACK, server.port)
    finally:
        process.terminate()
        await process.wait()


@dataclass(frozen=True, slots=True)
class _Door:
    server: EnvoyServer
    port: int


@contextlib.asynccontextmanager
async def _gateway(mesh: SmallMesh, tracing: Tracing) -> AsyncIterator[_Door]:
    names = ("ingress", "tls", *(service.key for service in SERVICES))
    ports = {name: free_port() for name in names}
    credentials = Credentials(mesh.folder / "c" / GATEWAY)
    home = Home(mesh.folder / "gateway")
    home.create()
    # its limit per client is for one of many, and here is one client
    settings = GatewaySettings(gateway_calls_per_second=100_000)
    FrontDoor(home, mesh.rules, settings).tend()
    replicas = [f"127.0.0.1:{replica.port}" for replica in mesh.replicas.values()]
    endpoints.write(home.envoy, EXEC_RISK.key, replicas)

    def transport(service: Process) -> dict[str, Any]:
        return credentials.outbound(mesh.rules.spiffe(service.key), service.name)

    admin = free_port()
    bootstrap = gateway.render(
        home.envoy,
        ports,
        admin,
        policy=mesh.rules,
        settings=settings,
        transport=transport,
        tracing=tracing,
    )
    async with running(EnvoyServer(bootstrap=bootstrap, port=admin)) as server:
        yield _Door(server, ports["ingress"])


async def _answers(channel: grpc.aio.Channel) -> bool:
    try:
        await ask(channel, READ, "x 0")
    except grpc.aio.AioRpcError:
        return False
    return True


def _of(server: EnvoyServer) -> psutil.Process:
    if server.process is None:
        raise RuntimeError(f"{server.name} does not run")
    return psutil.Process(server.process.pid)


def _slower(path: Way, floor: Way) -> Row:
    more = path.p50 - floor.p50
    numbers = {
        "p50_ms": path.p50,
        "p99_ms": path.p99,
        "calls_per_s": median(path.rates),
        "proxy_cpu_us": median(path.cpu_us),
        "straight_p50_ms": floor.p50,
        "straight_calls_per_s": median(floor.rates),
    }
    return Row(
        path=f"unary call to {EXEC_RISK.name} through {path.name}: ms more at p50",
        measured=path.described,
        floor=floor.described,
        ratio=more,
        aim=AIM_MS,
        higher_is_better=False,
        numbers=numbers,
    )


def _even(path: Way) -> Row:
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(path.answered.items()))
    return Row(
        path=f"balance over two replicas through {path.name}, {CALLERS} callers",
        measured=counts,
        floor="even shares",
        ratio=path.imbalance,
        aim=AIM_BALANCE,
        higher_is_better=False,
    )
