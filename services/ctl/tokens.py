"""Tokens for the gateway: the local issuer, its keys, and the operator's own token.

A token is a JWT signed with ES256. Keys rotate without a refused call: a new key is published
before the first token is signed with it, and an old one stays until its last token has expired.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.ctl.policy import Policy
from services.ctl.supervisor.home import Home, Refused, read_json, write_json, write_whole

ISSUER = "quantum-trader"
"""Claim `iss` of our own tokens."""
AUDIENCE = "quantum-trader"
"""Claim `aud` that the gateway asks for."""
ALGORITHM = "ES256"
LONGEST_SECONDS = 24 * 3600
"""No token lives longer; the gateway refuses one that claims to."""
OPERATOR_SECONDS = 12 * 3600
LEAD_SECONDS = 2.0
"""Time between publishing a key and signing with it; a running gateway takes it within one."""
SKEW_SECONDS = 5
"""How far a clock may be behind: the gateway takes a token that long after its end."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Key:
    """One signing key. Times are Unix seconds."""

    kid: str
    pem: str
    """Private key, PKCS 8."""
    signs_from: float
    last_expiry: float = 0.0
    """When the last token that it signed ends."""

    def public(self) -> dict[str, Any]:
        """Return the public half as a JSON Web Key."""
        private = serialization.load_pem_private_key(self.pem.encode(), password=None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise Refused("the issuer's key is no EC key: `qt token rotate --revoke` makes one")
        told: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
        return {**told, "kid": self.kid, "alg": ALGORITHM, "use": "sig"}


class Issuer:
    """Signs tokens with keys that lie in one folder of a home."""

    def __init__(self, home: Home, policy: Policy, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells Unix seconds. Nothing is created before it is needed."""
        self._folder = home.root / "issuer"
        self._file = self._folder / "keys.json"
        self._policy = policy
        self._clock = clock

    def issue(self, role: str, seconds: float, subject: str) -> str:
        """Return a token; Refused when the role is unknown or it would live too long."""
        if role not in self._policy.roles:
            raise Refused(f"no role {role!r}: there are {', '.join(self._policy.roles)}")
        if not 1 <= seconds <= LONGEST_SECONDS:
            raise Refused(f"a token lives from 1 s to {LONGEST_SECONDS // 3600} h")
        with self._keys() as keys:
            now = self._clock()
            signer = _signer(keys, now)
            expiry = now + seconds
            last = max(signer.last_expiry, expiry)
            keys[keys.index(signer)] = replace(signer, last_expiry=last)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "role": role,
            "iat": int(now),
            "exp": int(expiry),
        }
        return jwt.encode(claims, signer.pem, ALGORITHM, headers={"kid": signer.kid})

    def rotate(self, *, revoke: bool = False) -> Key:
        """Add a key; with `revoke` all others go at once, and every token of theirs with them."""
        with self._keys() as keys:
            fresh = _new_key(self._clock() + (0 if revoke else LEAD_SECONDS))
            if revoke:
                keys.clear()
            keys.append(fresh)
        return fresh

    def accepted(self) -> tuple[Key, ...]:
        """Return the keys that are accepted now, the oldest first."""
        with self._keys() as keys:
            return tuple(keys)

    def jwks(self) -> dict[str, Any]:
        """Return the public keys as a JSON Web Key Set."""
        return {"keys": [key.public() for key in self.accepted()]}

    @contextlib.contextmanager
    def _keys(self) -> Iterator[list[Key]]:
        """Hold the keys alone, and keep what was changed. Keys whose time is over are gone."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = [Key(**entry) for entry in read_json(self._file).get("keys", [])]
            keys = _living(held, self._clock()) or [_new_key(self._clock())]
            yield keys
            if keys != held:
                entries = {"keys": [asdict(key) for key in keys]}
                write_json(self._file, entries, mode=0o600)


def _new_key(signs_from: float) -> Key:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Key(secrets.token_hex(8), pem.decode(), signs_from)


def _signer(keys: list[Key], now: float) -> Key:
    """Return the newest key whose time to sign has come."""
    return next((key for key in reversed(keys) if key.signs_from <= now), keys[0])


def _living(keys: list[Key], now: float) -> list[Key]:
    """Return the signer, what follows it, and old keys that still have living tokens."""
    if not keys:
        return []
    first = keys.index(_signer(keys, now))
    old = [key for key in keys[:first] if key.last_expiry + SKEW_SECONDS >= now]
    return [*old, *keys[first:]]


def token_file(home: Home) -> Path:
    """Where the operator's token of this machine lies."""
    return home.root / "token"


def renew(home: Home, issuer: Issuer, role: str, clock: Callable[[], float] = time.time) -> bool:
    """Write the operator's token when there is none of a living key, or half its life is over."""
    known = claims(read_token(home))
    kids = {key.kid for key in issuer.accepted()}
    fresh = known.get("kid") in kids and known.get("exp", 0) - clock() > OPERATOR_SECONDS / 2
    if not fresh:
        token = issuer.issue(role, OPERATOR_SECONDS, f"operator:{getpass.getuser()}")
        write_whole(token_file(home), token + "\n", 0o600)
    return not fresh


def read_token(home: Home) -> str:
    """Return the operator's token; empty when there is none."""
    try:
        return token_file(home).read_text().strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Refused(f"cannot read {token_file(home)}: {error.strerror}") from error


def claims(token: str) -> dict[str, Any]:
    """Return what a token says of itself, with its `kid`, unverified; empty for no token."""
    try:
        told: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        return {**told, "kid": jwt.get_unverified_header(token).get("kid", "")}
    except (jwt.InvalidTokenError, json.JSONDecodeError):
        return {}


def seconds_of(text: str) -> int:
    """Read a span like `90s`, `30m`, `12h` or `1d`."""
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if not found:
        raise Refused(f"--for {text}: say a number and s, m, h or d, for example 1h")
    return int(found[1]) * _UNITS[found[2]]
