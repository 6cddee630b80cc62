"""The files that compose and the cluster mount, on the real servers."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from services.catalog.subjects import STREAMS, signal
from services.ctl import policy
from services.ctl.__main__ import app
from services.ctl.identities import Identities
from services.ctl.render import bus, roles
from services.ctl.servers.free import LOOPBACK
from services.ctl.servers.nats import NatsServer
from services.ctl.servers.postgres import PostgresServer, wheel
from services.kit.bus.bus import Bus, BusDenied
from services.kit.bus.login import BusLogin

ROOT = Path(__file__).resolve().parents[3]


class MountedUsers(NatsServer):
    """A server whose users are the mounted file, their keys from the environment."""

    def configuration(self) -> str:
        assert self.identities is not None
        written = bus.authorization(self.identities.policy, self.identities.public_keys())
        return super().configuration().replace(written, "include users.conf\n")

    def prepare(self) -> None:
        super().prepare()
        shutil.copy(ROOT / "mesh" / "nats" / "users.conf", self.directory)


def made(folder: Path) -> Identities:
    """What `qt identities` makes."""
    told = CliRunner().invoke(app, ["identities", str(folder)])
    assert told.exit_code == 0, told.output
    identities = Identities(folder, policy.load())
    assert (folder / "nats" / "public.env").read_text() == identities.public_environment()
    assert told.stdout == identities.public_environment()
    again = CliRunner().invoke(app, ["identities", str(folder)])
    assert again.stdout == told.stdout
    return identities


async def test_the_mounted_users_and_the_command_that_makes_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities = made(tmp_path / "secrets")
    for line in identities.public_environment().splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    server = MountedUsers(directory=tmp_path / "nats", identities=identities)
    await server.launch()
    try:
        assert "nkey:" not in server.configuration()
        seed = identities.nkey_file(bus.OPERATOR)
        command = ["streams", "--url", server.url, "--nkey-file", str(seed)]
        told = await _invoke(command)
        assert told == "the streams are as declared\n"
        login = BusLogin("analytics", identities.nkey_file("analytics"))
        analytics = await Bus.connect(server.url, "test", login)
        try:
            await analytics.require(STREAMS)
            with pytest.raises(BusDenied):
                await analytics.publish(signal("BTCUSDT"), b"x", message_id="1")
        finally:
            await analytics.close()
    finally:
        await server.stop()


async def _invoke(command: list[str]) -> str:
    told = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert told.exit_code == 0, told.output
    return told.stdout


async def test_the_mounted_script_makes_the_database(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """Twice: a second run changes nothing."""
    identities = made(tmp_path / "secrets")
    script = (ROOT / "mesh" / "postgres" / "roles.sql").read_text()
    for role in roles.login_roles(identities.policy):
        mounted = f"/run/secrets/{role}_postgres_password"
        assert mounted in script
        script = script.replace(mounted, str(identities.password_file(role)))
    file = tmp_path / "roles.sql"
    file.write_text(script)
    superuser = await asyncpg.connect(postgres_server.dsn())
    try:
        for _ in range(2):
            arguments = [str(wheel() / "psql"), "-X", "-q", "-f", str(file), postgres_server.dsn()]
            done = subprocess.run(arguments, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, "")
        for role in roles.login_roles(identities.policy):
            dsn = f"postgresql://{role}@{LOOPBACK}:{postgres_server.port}/{roles.DATABASE}"
            secret = identities.password_file(role).read_text()
            connection = await asyncpg.connect(dsn, password=secret)
            await connection.execute("set default_transaction_read_only = off")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("create schema mine")
            await connection.close()
    finally:
        await superuser.execute(f"drop database {roles.DATABASE} with (force)")
        for role in roles.login_roles(identities.policy):
            await superuser.execute(f"drop role {role}")
        await superuser.close()


@pytest.mark.parametrize("command", ["streams", "identities"])
def test_the_commands_explain_themselves(command: str) -> None:
    told = CliRunner().invoke(app, [command, "--help"])
    assert told.exit_code == 0 and "Example: qt" in told.stdout
