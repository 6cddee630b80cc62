"""Keys and passwords of those who log in to the bus and the database, each in a file of its own.

`nats/<user>.nk` holds the seed of a user of the bus, `postgres/<role>.password` the password of a
login role; both are made up once and readable by their owner alone. Removing a file and preparing
the server again gives a new one.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

import nkeys

from services.ctl.policy import Policy
from services.ctl.render import bus, roles


class Identities:
    """The files below one folder."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        """Nothing is made before it is asked for."""
        self.folder = folder
        self.policy = policy

    def nkey_file(self, user: str) -> Path:
        """Return the file with the seed of a user of the bus."""
        return _made(self.folder / "nats" / f"{user}.nk", _seed)

    def password_file(self, role: str) -> Path:
        """Return the file with the password of a login role."""
        return _made(self.folder / "postgres" / f"{role}.password", _password)

    def alert_token_file(self) -> Path:
        """Return the file with the token by which Alertmanager tells analytics."""
        return _made(self.folder / "alerts" / "receiver.token", _password)

    def public_keys(self) -> Mapping[str, str]:
        """Return the public key of every user of the bus."""
        return {user: public_key(self.nkey_file(user)) for user in bus.users(self.policy)}

    def passwords(self) -> Mapping[str, str]:
        """Return the password of every login role."""
        names = roles.login_roles(self.policy)
        return {role: self.password_file(role).read_text().strip() for role in names}

    def public_environment(self) -> str:
        """Return the public keys as lines `NATS_NKEY_<USER>=...` for a server's environment."""
        keys = self.public_keys()
        return "".join(f"{bus.VARIABLE.format(u.upper())}={key}\n" for u, key in keys.items())


def public_key(seed_file: Path) -> str:
    """Return the public key that belongs to a seed."""
    pair = nkeys.from_seed(bytearray(seed_file.read_bytes().strip()))
    return str(pair.public_key.decode())


def signed(seed_file: Path, nonce: str) -> dict[str, str]:
    """Return what a client answers to the nonce of the server's greeting."""
    pair = nkeys.from_seed(bytearray(seed_file.read_bytes().strip()))
    signature = base64.urlsafe_b64encode(pair.sign(nonce.encode())).rstrip(b"=")
    return {"nkey": pair.public_key.decode(), "sig": signature.decode()}


def _seed() -> str:
    made = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
    return str(made.decode())


def _password() -> str:
    return secrets.token_urlsafe(32)


def _made(file: Path, make: Callable[[], str]) -> Path:
    if not file.exists():
        for folder in (file.parent.parent, file.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        fresh.touch(mode=0o600)
        fresh.write_text(make())
        fresh.replace(file)
    return file
