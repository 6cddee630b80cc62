"""What `qt setup` prepares, used as containers use it: real servers with the files of `mesh/`."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from services.catalog import ports
from services.catalog.subjects import STREAMS
from services.ctl import policy
from services.ctl.commands.setup import NAMES, Setup
from services.ctl.servers.free import LOOPBACK, free_port
from services.ctl.servers.postgres import wheel
from services.ctl.supervisor.home import Home
from services.kit.bus.bus import Bus, BusDenied
from services.kit.bus.login import BusLogin
from tests.support.eventually import eventually

MESH = Path(__file__).resolve().parents[3] / "mesh"
TABLE = policy.load()


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    Setup(tmp_path / "secrets", Home(tmp_path / "home"), TABLE).run()
    return tmp_path / "secrets"


@contextmanager
def nats(prepared: Path, folder: Path, text: str, name: str = "") -> Iterator[None]:
    """Run a server with a configuration of `mesh/nats`, its paths and ports moved to here."""
    folder.mkdir()
    for piece in ("limits.conf", "users.conf"):
        held = (MESH / "nats" / piece).read_text()
        (folder / piece).write_text(
            held.replace('"/data"', f'"{folder}/data"').replace("/tmp/nats.pid", f"{folder}/pid")
        )
    text = text.replace("/run/secrets/nats", str(prepared / "nats"))
    (folder / "server.conf").write_text(text)
    lines = (prepared / "nats" / "users.env").read_text().split()
    users = dict(line.split("=", 1) for line in lines)
    running = subprocess.Popen(
        [Path(sys.executable).with_name("nats-server"), "-c", folder / "server.conf"],
        env={**os.environ, **users, "POD_NAME": name},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(10)


def login(prepared: Path, user: str) -> BusLogin:
    return BusLogin(user, prepared / user / "seed", prepared / user / "ca.crt")


async def declare(prepared: Path, port: int, *options: str) -> None:
    """Run `qt streams` as its container does."""
    environment = {
        **os.environ,
        "NATS_URL": f"nats://localhost:{port}",
        "NATS_NKEY_FILE": str(prepared / "operator" / "seed"),
        "NATS_CA_FILE": str(prepared / "operator" / "ca.crt"),
    }
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.ctl", "streams", *options,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await done.communicate()
    assert done.returncode == 0, err.decode()
    assert "as declared" in out.decode()


@pytest.fixture
async def server(prepared: Path, tmp_path: Path) -> AsyncIterator[int]:
    port, monitor = free_port(), free_port()
    text = (MESH / "nats" / "server.conf").read_text()
    text = text.replace(f"0.0.0.0:{ports.NATS}", f"{LOOPBACK}:{port}")
    text = text.replace(f"0.0.0.0:{ports.NATS_MONITOR}", f"{LOOPBACK}:{monitor}")
    with nats(prepared, tmp_path / "nats", text):
        yield port


async def test_streams_are_declared_over_tls_and_each_user_keeps_to_its_subjects(
    prepared: Path, server: int
) -> None:
    await declare(prepared, server)
    url = f"nats://localhost:{server}"
    ai = await Bus.connect(url, "ai", login(prepared, "ai"))
    analytics = await Bus.connect(url, "analytics", login(prepared, "analytics"))
    try:
        await ai.require(STREAMS)
        subject = "quantum.live.signal.generated.BTCUSDT"
        assert await ai.publish(subject, b"-", message_id="1") == 1
        with pytest.raises(BusDenied):
            await analytics.publish(subject, b"-", message_id="2", deadline=5)
    finally:
        await ai.close()
        await analytics.close()


async def test_three_servers_hold_every_message(prepared: Path, tmp_path: Path) -> None:
    clients = [free_port() for _ in range(3)]
    routes = [free_port() for _ in range(3)]
    text = (MESH / "nats" / "cluster.conf").read_text()
    for number, port in enumerate(routes):
        # here all names are this machine's; certificates name the servers and localhost
        name = f"quantum-trader-nats-{number}.quantum-trader-nats:{ports.NATS_ROUTES}"
        assert name in text
        text = text.replace(name, f"localhost:{port}")
    with ExitStack() as running:
        for number in range(3):
            own = text.replace(f"0.0.0.0:{ports.NATS}", f"{LOOPBACK}:{clients[number]}")
            own = own.replace(f"0.0.0.0:{ports.NATS_ROUTES}", f"{LOOPBACK}:{routes[number]}")
            own = own.replace(f"0.0.0.0:{ports.NATS_MONITOR}", f"{LOOPBACK}:{free_port()}")
            folder = tmp_path / f"nats-{number}"
            running.enter_context(nats(prepared, folder, own, f"nats-{number}"))

        async def declared() -> bool:
            await declare(prepared, clients[0], "--replicas", "3")
            return True

        await eventually(declared, 60, 1.0)
        operator = await Bus.connect(
            f"nats://localhost:{clients[2]}", "operator", login(prepared, "operator")
        )
        try:
            info = await operator.client.jetstream(timeout=5).stream_info(STREAMS[0].name)
            assert info.config.num_replicas == 3
            assert info.cluster is not None
        finally:
            await operator.close()


def test_what_is_there_is_kept_and_each_folder_is_for_its_reader_alone(
    prepared: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in prepared.rglob("*") if path.is_file()}
    Setup(prepared, Home(tmp_path / "home"), TABLE).run()
    assert {p: p.read_bytes() for p in prepared.rglob("*") if p.is_file()} == before
    for path in before:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    told = {path.parent.name: path.name for path in before if path.name == "password"}
    assert set(told) == {*TABLE.database.owners, "grafana"}
    for server, names in NAMES.items():
        leaf = x509.load_pem_x509_certificate((prepared / server / "tls.crt").read_bytes())
        held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert tuple(held.get_values_for_type(x509.DNSName)) == names


def test_postgres_takes_every_value(prepared: Path, tmp_path: Path) -> None:
    """PostgreSQL reads its whole configuration before it tells one value of it."""
    configuration = tmp_path / "postgresql.conf"
    lines = (MESH / "postgres" / "postgresql.conf").read_text().splitlines(keepends=True)
    # the server of the tests is built without TLS
    configuration.write_text("".join(line for line in lines if not line.startswith("ssl")))

    def told(name: str) -> subprocess.CompletedProcess[str]:
        program = [wheel() / "postgres", "-C", name, "-c", f"config_file={configuration}"]
        return subprocess.run(
            [*map(str, program), "-c", f"data_directory={tmp_path}"], capture_output=True, text=True
        )

    assert told("shared_buffers").stdout.strip() == str(2 * 1024**3 // 8192)
    configuration.write_text(configuration.read_text() + "shared_bufers = 1GB\n")
    assert "unrecognized configuration parameter" in told("work_mem").stderr
