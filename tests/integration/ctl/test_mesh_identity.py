"""Real Envoys: who is let in, who may call what, and what an old certificate is worth."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from services.catalog.processes import EXEC_RISK
from services.ctl.certs import Authority, Leaf
from tests.support.eventually import eventually
from tests.support.small_mesh import OUTSIDE, READ, WRITE, Replica, SmallMesh, ask, call, small_mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEALTH = "/grpc.health.v1.Health/Check"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
REFUSED = grpc.StatusCode.UNAVAILABLE


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[SmallMesh]:
    async with small_mesh(replicas=1) as made:
        yield made


@pytest.fixture
def replica(mesh: SmallMesh) -> Replica:
    return mesh.replicas["r1"]


async def fails(channel: grpc.aio.Channel, method: str = READ) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await call(channel, method)
    code: grpc.StatusCode = told.value.code()
    return code


async def test_a_caller_of_the_table_is_served_and_named(mesh: SmallMesh) -> None:
    async with mesh.through() as channel:
        _, told = await call(channel, READ)
    assert told.startswith("r1 ") and "URI=spiffe://quantum.local/analytics" in told


async def test_what_a_caller_says_of_itself_is_thrown_away(
    mesh: SmallMesh, replica: Replica
) -> None:
    async with mesh.straight(replica, mesh.authority.issue("analytics")) as channel:
        forged = (("x-forwarded-client-cert", "URI=spiffe://quantum.local/admin"),)
        told = await ask(channel, READ, "x 0", metadata=forged)
    assert "admin" not in told and "URI=spiffe://quantum.local/analytics" in told


async def test_plain_text_is_refused(mesh: SmallMesh, replica: Replica) -> None:
    before = len(replica.begun)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{replica.port}") as channel:
        assert await fails(channel) is REFUSED
    assert len(replica.begun) == before


async def test_no_certificate_is_refused(mesh: SmallMesh, replica: Replica) -> None:
    async with mesh.straight(replica, None) as channel:
        assert await fails(channel) is REFUSED


@pytest.mark.parametrize("identity", ["ai", "exec_risk", "stranger"])
async def test_another_identity_of_the_same_ca_is_refused_and_the_log_says_why(
    mesh: SmallMesh, replica: Replica, identity: str
) -> None:
    async with mesh.straight(replica, mesh.authority.issue(identity)) as channel:
        assert await fails(channel) is REFUSED

    def told() -> bool:
        log = (mesh.folder / "r1.log").read_text()
        return f"spiffe://quantum.local/{identity}" in log and "connection_refused" in log

    await eventually(told)


async def test_the_same_name_from_another_ca_is_refused(
    mesh: SmallMesh, replica: Replica, tmp_path: Path
) -> None:
    forger = Authority(tmp_path / "ca", mesh.rules)
    async with mesh.straight(replica, forger.issue("analytics")) as channel:
        assert await fails(channel) is REFUSED


@pytest.mark.parametrize(
    ("identity", "method", "allowed"),
    [
        ("analytics", READ, True),
        ("analytics", WRITE, True),
        ("analytics", HEALTH, True),
        ("analytics", OUTSIDE, False),
        ("analytics", "/grpc.health.v1.Health/Watch", False),
        ("analytics", "/quantum.ops.v1.OperationsService/Drain", False),
        ("analytics", f"{READ}/", False),
        ("gateway", OUTSIDE, True),
        ("gateway", "/quantum.ops.v1.OperationsService/Drain", False),
        ("gateway", "/quantum.ai.v1.AiService/GetSignal", False),
    ],
)
async def test_a_method_outside_the_table_is_denied(
    mesh: SmallMesh, replica: Replica, identity: str, method: str, allowed: bool
) -> None:
    before = len(replica.begun)
    async with mesh.straight(replica, mesh.authority.issue(identity)) as channel:
        if allowed:
            await call(channel, method)
        else:
            assert await fails(channel, method) is grpc.StatusCode.PERMISSION_DENIED
            assert len(replica.begun) == before


async def test_a_callee_with_the_wrong_identity_is_not_talked_to(
    mesh: SmallMesh, tmp_path: Path
) -> None:
    """A replica that took another's place proves another name: no request reaches it."""

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    impostor = await asyncio.start_server(
        hang_up,
        "127.0.0.1",
        0,
        ssl=_server_context(mesh.authority.issue("ai"), tmp_path, mesh.authority.trust),
    )
    port = impostor.sockets[0].getsockname()[1]
    true = mesh.replicas["r1"].port
    mesh.replicas["r1"].port = port
    try:
        mesh.tell()
        async with mesh.through() as channel:

            async def refused() -> bool:
                try:
                    await call(channel, READ)
                except grpc.aio.AioRpcError as error:
                    return error.code() is REFUSED
                return False

            await eventually(refused)
        log = mesh.folder / "analytics.log"
        await eventually(lambda: "SAN" in log.read_text())
    finally:
        mesh.replicas["r1"].port = true
        mesh.tell()
        impostor.close()


async def test_an_expired_certificate_is_refused_also_on_a_resumed_connection(
    mesh: SmallMesh, replica: Replica, tmp_path: Path
) -> None:
    leaf = mesh.authority.issue("analytics", life=timedelta(seconds=5))
    context = _client_context(leaf, tmp_path, mesh.authority.trust)
    assert await asyncio.to_thread(_settings_come, replica.port, context, None)
    session = await asyncio.to_thread(_session, replica.port, context)
    assert session is None or not session.has_ticket, "there is nothing to resume with"
    left = (leaf.not_after - datetime.now(UTC)).total_seconds()
    await asyncio.sleep(max(left, 0) + 1.5)
    for resumed in (session, None):
        assert not await asyncio.to_thread(_settings_come, replica.port, context, resumed)


def _files(leaf: Leaf, folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "leaf.pem", folder / "leaf.key"
    certificate.write_text(leaf.certificate)
    key.write_text(leaf.key)
    return certificate, key


def _server_context(leaf: Leaf, folder: Path, trust: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*_files(leaf, folder))
    context.load_verify_locations(cadata=trust)
    context.set_alpn_protocols(["h2"])
    return context


def _client_context(leaf: Leaf, folder: Path, trust: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(*_files(leaf, folder))
    context.load_verify_locations(cadata=trust)
    context.set_alpn_protocols(["h2"])
    return context


def _settings_come(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> bool:
    """Tell whether HTTP/2 begins: with TLS 1.3 a refusal shows only at the first reading."""
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        try:
            with context.wrap_socket(
                plain, server_hostname=EXEC_RISK.name, session=session
            ) as secured:
                assert not secured.session_reused
                secured.sendall(PREFACE)
                return len(secured.recv(9)) == 9
        except (ssl.SSLError, ConnectionError):
            return False


def _session(port: int, context: ssl.SSLContext) -> ssl.SSLSession | None:
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname=EXEC_RISK.name) as secured,
    ):
        secured.sendall(PREFACE)
        secured.recv(9)
        return secured.session
