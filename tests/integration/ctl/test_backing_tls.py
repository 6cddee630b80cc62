"""NATS and PostgreSQL behind TLS, with certificates of the local authority."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import nats
import pytest
import pytest_asyncio

from services.catalog.subjects import LIVE, STREAMS, signal
from services.ctl import policy
from services.ctl.certs import Authority
from services.ctl.identities import Identities
from services.ctl.servers.certificate import NAME, Certificate
from services.ctl.servers.child import running
from services.ctl.servers.nats import NatsServer
from services.ctl.servers.postgres import SUPERUSER, PostgresServer
from services.kit.bus.bus import Bus
from services.kit.bus.login import BusLogin
from services.kit.postgres.login import Login
from services.kit.postgres.migrate import missing

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Guarded:
    """Both servers, and files of two authorities."""

    def __init__(self, folder: Path) -> None:
        self.identities = Identities(folder / "identities", policy.load())
        self.certificate = _certificate(folder / "tls", (NAME,))
        self.other = _certificate(folder / "other", (NAME,))
        self.nats = NatsServer(
            directory=folder / "nats", identities=self.identities, certificate=self.certificate
        )
        self.postgres = PostgresServer(
            directory=folder / "postgres", certificate=self.certificate, binaries=binaries()
        )

    def bus(self, ca_file: Path, user: str = "operator") -> BusLogin:
        return BusLogin(user, self.identities.nkey_file(user), ca_file)

    def database(self, ca_file: Path | None, host: str = NAME) -> Login:
        secret = self.postgres.directory / "password"
        dsn = f"postgresql://{SUPERUSER}@{host}:{self.postgres.port}/postgres"
        return Login(dsn, secret, ca_file)


def binaries() -> Path:
    """A PostgreSQL that was built with TLS, as Debian's is; the wheel's was not."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("no PostgreSQL with TLS is installed (Debian: postgresql)")
    return found[-1]


def _certificate(folder: Path, dns: tuple[str, ...]) -> Certificate:
    authority = Authority(folder / "ca", policy.load())
    leaf = authority.issue("nats", dns)
    texts = {"chain": leaf.certificate, "key": leaf.key, "authority": authority.trust}
    files = {}
    for name, text in texts.items():
        files[name] = folder / f"{name}.pem"
        files[name].touch(mode=0o600)
        files[name].write_text(text)
    return Certificate(**files)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(server_home: Path) -> AsyncIterator[Guarded]:
    folder = server_home / "tls"
    folder.mkdir()
    found = Guarded(folder)
    async with running(found.nats), running(found.postgres):
        yield found


@pytest.fixture
def url(guarded: Guarded) -> str:
    return f"nats://{NAME}:{guarded.nats.port}"


async def test_the_bus_over_tls(guarded: Guarded, url: str) -> None:
    trusted = guarded.certificate.authority
    operator = await Bus.connect(url, "operator", guarded.bus(trusted))
    await operator.declare(STREAMS)
    await operator.close()
    bus = await Bus.connect(url, "ai", guarded.bus(trusted, "ai"))
    await bus.require(STREAMS)
    await bus.publish(signal("BTCUSDT"), b"x", message_id="1")
    assert await bus.last_sequence(LIVE.name) == 1
    await bus.close()


async def test_a_bus_of_another_authority_is_not_believed(guarded: Guarded, url: str) -> None:
    trust = guarded.other.trust()
    seed = str(guarded.identities.nkey_file("ai"))
    for address in (url, f"nats://127.0.0.1:{guarded.nats.port}"):
        context = trust if address == url else guarded.certificate.trust()
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            await nats.connect(address, tls=context, nkeys_seed=seed, allow_reconnect=False)


async def test_the_database_over_tls(guarded: Guarded) -> None:
    login = guarded.database(guarded.certificate.authority)
    connection = await asyncpg.connect(**login.options())
    try:
        shown = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()"
        assert tuple(await connection.fetchrow(shown)) == (True, "TLSv1.3")
    finally:
        await connection.close()
    assert await missing(login, "exec_risk", "services.exec_risk.migrations")


async def test_a_database_that_cannot_be_believed_is_not_logged_in_to(guarded: Guarded) -> None:
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        await asyncpg.connect(**guarded.database(guarded.other.authority).options())
    with pytest.raises(Exception, match="IP address mismatch"):
        login = guarded.database(guarded.certificate.authority, "127.0.0.1")
        await asyncpg.connect(**login.options())


async def test_a_database_with_tls_takes_nothing_in_plain_text(guarded: Guarded) -> None:
    login = guarded.database(None).options()
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no encryption"):
        await asyncpg.connect(**login, ssl="disable")


async def test_a_dsn_may_say_the_same(guarded: Guarded) -> None:
    """What operators write: libpq's own words."""
    file = guarded.certificate.authority
    login = guarded.database(None)
    asked = f"{login.dsn}?sslmode=verify-full&sslrootcert={file}"
    await (await asyncpg.connect(**Login(asked, login.password_file).options())).close()
