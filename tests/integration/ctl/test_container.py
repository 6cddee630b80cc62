"""What a container runs, `qt run ai`: the service on a socket, and its sidecar in front of it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from services.ctl import policy
from services.ctl.delivery import certificates_folder, of_home
from services.ctl.render import stats
from services.ctl.servers.command import Command
from services.ctl.servers.free import LOOPBACK, free_port
from services.ctl.supervisor.container import MeshSettings, behind_sidecar
from services.ctl.supervisor.home import Home, Refused, read_json
from services.ctl.supervisor.unit import Unit
from tests.support.eventually import eventually

RULES = Path(__file__).resolve().parents[3] / "mesh" / "observability" / "rules" / "mesh.yml"


@dataclass
class Container:
    """A running one."""

    process: asyncio.subprocess.Process
    environment: dict[str, str]
    port: int
    stats: int
    home: Home

    async def healthy(self, service: str = "") -> bool:
        asked = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.ctl.healthcheck", *filter(None, [service]),
            env=self.environment, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        return await asked.wait() == 0


@pytest.fixture
async def container(tmp_path: Path) -> AsyncIterator[Container]:
    home = Home(tmp_path / "home")
    of_home(home, policy.load()).tend()
    port = free_port()
    stats = free_port(frozenset((port,)))
    environment = {
        **os.environ,
        "GRPC_ADDRESS": f"unix:{tmp_path / 's' / 'service.sock'}",
        "MESH_CERTIFICATES": str(certificates_folder(home) / "ai"),
        "MESH_LISTEN": f"{LOOPBACK}:{port}",
        "MESH_STATS_LISTEN": f"{LOOPBACK}:{stats}",
        "NATS_URL": f"nats://{LOOPBACK}:{free_port()}",
        "DRAIN_DELAY_SECONDS": "0",
        "QUANTUM_ENV_FILE": "",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.ctl", "run", "ai",
        env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    yield Container(process, environment, port, stats, home)
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    await process.wait()


async def ask(container: Container, path: str, verb: str = "GET") -> tuple[int, str]:
    """Ask what Prometheus may ask of the proxy."""
    url = f"http://{LOOPBACK}:{container.stats}{path}"
    async with aiohttp.ClientSession() as session, session.request(verb, url) as told:
        return told.status, await told.text()


async def counters(container: Container) -> dict[str, float]:
    """Return what the proxy tells, summed over labels."""
    status, text = await ask(container, stats.PATH)
    assert status == 200, text
    found: dict[str, float] = {}
    for line in text.splitlines():
        if told := re.match(r"(\w+)\{.*\} ([0-9.]+)$", line):
            found[told[1]] = found.get(told[1], 0) + float(told[2])
    return found


OF_CALLERS = {"envoy_cluster_ssl_fail_verify_error", "envoy_cluster_ssl_fail_verify_san"}
"""ai calls nobody: its proxy has no such cluster. Those of the gateway have."""


def read_by_alerts() -> set[str]:
    """Return the counters that the mesh's alerts read."""
    return set(re.findall(r"envoy_\w+(?=[\[{])", RULES.read_text()))


def greet(container: Container, identity: str) -> str | None:
    """Connect as this identity, or as nobody; return the protocol that was agreed on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # identities are URIs
    folder = certificates_folder(container.home)
    trust = read_json(folder / "ai" / "trust.json")["resources"][0]
    context.load_verify_locations(cadata=trust["validation_context"]["trusted_ca"]["inline_string"])
    context.set_alpn_protocols(["h2"])
    if identity:
        held = read_json(folder / identity / "identity.json")["resources"][0]["tls_certificate"]
        pair = container.home.root / f"{identity}.pem"
        pair.write_text(
            held["certificate_chain"]["inline_string"] + held["private_key"]["inline_string"]
        )
        context.load_cert_chain(pair)
    raw = socket.create_connection((LOOPBACK, container.port), timeout=5)
    with raw, context.wrap_socket(raw) as secured:
        # a refusal of our certificate comes only now: TLS 1.3 does not wait for it
        secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
        return secured.selected_alpn_protocol() if secured.recv(1) else None


async def test_it_serves_behind_its_sidecar_and_ends_in_order(container: Container) -> None:
    async def live() -> bool:
        return await container.healthy()

    await eventually(live, 60)
    assert not await container.healthy("quantum.ai.v1.AiService"), "there is no bus"
    assert await asyncio.to_thread(greet, container, "gateway") == "h2"
    before = await counters(container)
    # exec_risk calls nobody, nobody at all is even less
    for other in ("exec_risk", ""):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(greet, container, other)
    after = await counters(container)
    for name in ("san", "no_cert"):
        counted = f"envoy_listener_ssl_fail_verify_{name}"
        assert after[counted] == before[counted] + 1, counted
    missing = {name for name in read_by_alerts() if name not in after} - OF_CALLERS
    assert not missing, "alerts read what no proxy tells"
    for path, verb in (("/quitquitquit", "POST"), ("/stats", "GET"), (stats.PATH, "POST")):
        assert (await ask(container, path, verb))[0] == 404, path
    container.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(container.process.wait(), 30) == 0
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((LOOPBACK, container.port), timeout=5)


def unit(service: str, address: str) -> Unit:
    async def nothing() -> None:
        return

    command = Command(arguments=("true",), log=None, directory=Path("/"))
    return Unit(service, service, command, live=nothing, ready=nothing, address=address)


def test_without_certificates_and_for_the_exchange_there_is_no_sidecar(tmp_path: Path) -> None:
    plain, exchange = unit("ai", "127.0.0.1:1"), unit("venue", "127.0.0.1:1")
    assert behind_sidecar(plain, MeshSettings()) == [plain]
    assert behind_sidecar(exchange, MeshSettings(mesh_certificates=tmp_path)) == [exchange]


def test_a_service_that_others_could_reach_past_its_sidecar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="it must be unix"):
        behind_sidecar(unit("ai", "0.0.0.0:50051"), MeshSettings(mesh_certificates=tmp_path))
