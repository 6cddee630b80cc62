"""Where a database is and how to log in to it, without a secret in addresses or environments."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Login:
    """Address with the role's name; the password is in a file, read again for each connection."""

    dsn: str
    password_file: Path | None = None
    ca_file: Path | None = None
    """Set: TLS, and the server must show a certificate of this authority for its host name."""

    def options(self) -> dict[str, Any]:
        """Return what asyncpg connects with. OSError: the authority's file cannot be read."""
        found: dict[str, Any] = {"dsn": self.dsn}
        if self.password_file is not None:
            file = self.password_file
            found["password"] = lambda: file.read_text().strip()
        if self.ca_file is not None:
            found["ssl"] = ssl.create_default_context(cafile=self.ca_file)
        return found


Where = Login | str
"""A login, or an address that says everything itself."""


def options(where: Where) -> dict[str, Any]:
    """Return what asyncpg connects with."""
    return where.options() if isinstance(where, Login) else {"dsn": where}
