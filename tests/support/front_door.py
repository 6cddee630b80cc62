"""A real gateway in front of stand-in services, for tests of what passes it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import psutil

from services.catalog.processes import SERVICES
from services.ctl import policy, tokens
from services.ctl.render import endpoints, gateway
from services.ctl.render.tracing import Tracing
from services.ctl.servers.envoy import EnvoyServer
from services.ctl.servers.free import free_port
from services.ctl.settings import GatewaySettings
from services.ctl.supervisor.door import Credentials, trust_file
from services.ctl.supervisor.home import Home
from tests.support.eventually import eventually
from tests.support.stand_in_system import PROGRAM

TABLE = policy.load()
PUBLIC = ("ingress", "tls", *(service.key for service in SERVICES))
ONE_OF_EACH = tuple((service.key, service.key) for service in SERVICES)
READY_PATHS = ("/v1/ai/ready", "/v1/exec-risk/ready", "/v1/analytics/ready")


def settings(**values: Any) -> GatewaySettings:
    """Return settings that no environment of this machine changes."""
    return GatewaySettings(_env_file=None, **values)


@dataclass
class FrontDoor:
    """A running gateway, what is behind it, and clients of both of its doors."""

    home: Home
    ports: dict[str, int]
    folder: Path
    """Where the switches of the stand-ins lie."""
    server: EnvoyServer
    credentials: Credentials
    replicas: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    @property
    def issuer(self) -> tokens.Issuer:
        """The issuer whose tokens it takes."""
        return tokens.Issuer(self.home, TABLE)

    def token(self, role: str, seconds: float = 600, subject: str = "test") -> str:
        """Return a token that it takes."""
        return self.issuer.issue(role, seconds, subject)

    def url(self, name: str, path: str) -> str:
        """Return the address of a path at one of its ports."""
        return f"{'https' if name == 'tls' else 'http'}://localhost:{self.ports[name]}{path}"

    def trust(self) -> ssl.SSLContext:
        """Return what a client checks the TLS door with."""
        return ssl.create_default_context(cafile=str(trust_file(self.home)))

    def channel(self, name: str) -> grpc.aio.Channel:
        """Open a gRPC channel to a port."""
        target = f"localhost:{self.ports[name]}"
        if name != "tls":
            return grpc.aio.insecure_channel(target)
        roots = trust_file(self.home).read_bytes()
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots))

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Open an HTTP client of both doors."""
        connector = aiohttp.TCPConnector(ssl=self.trust())
        limit = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(connector=connector, timeout=limit) as session:
            yield session

    async def get(self, name: str, path: str, **headers: str) -> tuple[int, str]:
        """GET a path."""
        async with (
            self.session() as session,
            session.get(self.url(name, path), headers=headers) as told,
        ):
            return told.status, await told.text()

    async def post(
        self, name: str, path: str, body: Any, **headers: str
    ) -> tuple[int, Mapping[str, str], str]:
        """POST JSON."""
        async with (
            self.session() as session,
            session.post(self.url(name, path), json=body, headers=headers) as told,
        ):
            return told.status, told.headers, await told.text()

    async def stats(self, prefix: str) -> dict[str, int]:
        """Return Envoy's counters and gauges under a prefix."""
        url = f"http://127.0.0.1:{self.server.port}/stats?format=json&filter=^{prefix}"
        async with aiohttp.ClientSession() as session, session.get(url) as told:
            held = json.loads(await told.text())["stats"]
        return {one["name"]: one["value"] for one in held if "name" in one}

    def process(self) -> psutil.Process:
        """Return the process of Envoy."""
        assert self.server.process is not None
        return psutil.Process(self.server.process.pid)

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the access log."""
        lines = self.server.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@contextlib.asynccontextmanager
async def replica(
    key: str, instance: str, port: int, folder: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a stand-in for a service."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        key,
        env={
            **os.environ,
            "SERVICE_INSTANCE": instance,
            "GRPC_ADDRESS": f"127.0.0.1:{port}",
            "STAND_IN_FOLDER": str(folder),
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def opened(
    folder: Path,
    plan: tuple[tuple[str, str], ...] = ONE_OF_EACH,
    chosen: GatewaySettings | None = None,
    tracing: Tracing | None = None,
) -> AsyncIterator[FrontDoor]:
    """Run the gateway before these instances (service, name) until the block is left."""
    home = Home(folder / "home")
    home.create()
    credentials = Credentials(home, TABLE, chosen or settings())
    credentials.tend()
    taken: set[int] = set()

    def fresh() -> int:
        taken.add(port := free_port(frozenset(taken)))
        return port

    at = {instance: fresh() for _, instance in plan}
    ports = {name: fresh() for name in PUBLIC}
    for service in SERVICES:
        mine = [f"127.0.0.1:{at[i]}" for key, i in plan if key == service.key]
        endpoints.write(home.envoy, service.key, mine)
    admin = fresh()
    bootstrap = gateway.render(
        home.envoy,
        ports,
        admin,
        policy=TABLE,
        settings=credentials.settings,
        tracing=tracing,
    )
    async with contextlib.AsyncExitStack() as stack:
        started = {
            instance: await stack.enter_async_context(replica(key, instance, at[instance], folder))
            for key, instance in plan
        }
        server = await stack.enter_async_context(EnvoyServer.start(bootstrap, admin))
        door = FrontDoor(home, ports, folder, server, credentials, started)

        # each look is a client of its own, so that none is over its limit of calls
        looks = itertools.count()

        async def all_ready() -> bool:
            shown = f"Bearer {door.token('viewer', subject=f'look {next(looks)}')}"
            told = [await door.get("ingress", path, Authorization=shown) for path in READY_PATHS]
            return all(status == 200 for status, _ in told)

        await eventually(all_ready, 60, interval=0.2)
        yield door
