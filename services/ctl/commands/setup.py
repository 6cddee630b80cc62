"""`qt setup FOLDER`: what containers must find before they start, each in a folder of its own."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from services.catalog.processes import ANALYTICS
from services.ctl import policy
from services.ctl.certs import AUTHORITY_LIFE, Authority
from services.ctl.commands.options import DEFAULT_HOME, HomeOption
from services.ctl.identities import Identities
from services.ctl.render import bus, roles
from services.ctl.supervisor.home import Home, write_whole

OURS, POSTGRES, GRAFANA = 10001, 999, 472
"""Users of our image, which the bus runs as too, and of the images of PostgreSQL and Grafana."""
SUPERUSER = "postgres"
NAMES = {
    "nats": ("nats", "quantum_trader_nats", "localhost"),
    "postgres": ("postgres", "quantum_trader_postgres", "localhost"),
}
"""What the servers are called in their certificates."""


def setup(
    folder: Annotated[Path, typer.Argument(help="Gets a folder for each service and server.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make keys, passwords and server certificates; keep what is there, renew what is old.

    Example: qt setup /secrets --home /var/lib/quantum
    """
    table = policy.load()
    place = Home(home)
    Setup(folder, place, table).run()
    typer.echo(f"prepared {', '.join(sorted(path.name for path in folder.iterdir()))}")


class Setup:
    """Writes the folders of one home."""

    def __init__(self, folder: Path, home: Home, table: policy.Policy) -> None:
        """Nothing is written before `run`."""
        self._folder = folder
        self._home = home
        self._table = table
        self._identities = Identities(home.root / "identities", table)
        # of its own: servers take a new certificate when they start, proxies at any time
        self._authority = Authority(home.root / "servers", table)

    def run(self) -> None:
        """Write everything and hand it to those who read it."""
        with self._authority.lock():
            if self._authority.due:
                self._authority.advance()
            for user in bus.users(self._table):
                self._user(user)
            self._write("nats", "users.env", self._identities.public_environment())
            for role in (*roles.login_roles(self._table), SUPERUSER):
                password = self._identities.password_file(role).read_text()
                self._write("postgres", f"{role}_postgres_password", password)
            token = self._identities.alert_token_file().read_text()
            self._write(ANALYTICS.key, "alert_token", token)
            self._write("alertmanager", "token", token)
            for server in NAMES:
                self._certificate(server)
            self._page_password()
        self._hand_over()

    def _user(self, user: str) -> None:
        self._write(user, "seed", self._identities.nkey_file(user).read_text())
        self._write(user, "ca.crt", self._authority.trust)
        if user in self._table.database.owners:
            self._write(user, "password", self._identities.password_file(user).read_text())

    def _page_password(self) -> None:
        """Make up Grafana's password of `admin` once."""
        if not (self._folder / "grafana" / "password").exists():
            self._write("grafana", "password", secrets.token_urlsafe(18))

    def _certificate(self, server: str) -> None:
        self._write(server, "ca.crt", self._authority.trust)
        held = self._folder / server / "tls.crt"
        if held.exists():
            leaf = x509.load_pem_x509_certificate(held.read_bytes())
            if self._authority.good(leaf, server):
                return
        made = self._authority.issue(server, NAMES[server], life=AUTHORITY_LIFE)
        self._write(server, "tls.key", made.key)
        self._write(server, "tls.crt", made.certificate)

    def _write(self, owner: str, name: str, text: str) -> None:
        place = self._folder / owner
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(place / name, text, 0o600)

    def _hand_over(self) -> None:
        """Give each folder to its reader; only root can, and only root needs to."""
        if os.geteuid() != 0:
            return
        for top in (self._folder, self._home.root):
            for path in (top, *top.rglob("*")):
                user = OURS
                for owner, known in (("postgres", POSTGRES), ("grafana", GRAFANA)):
                    if path.is_relative_to(self._folder / owner):
                        user = known
                os.chown(path, user, user)
                if path.is_dir() and path != self._folder:
                    path.chmod(0o700)
