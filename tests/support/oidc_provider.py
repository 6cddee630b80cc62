"""An OIDC provider on this machine: discovery and keys over HTTPS, tokens with whatever claims."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.ctl.certs import Authority
from services.ctl.discovery import WELL_KNOWN
from services.ctl.policy import GATEWAY, Policy

PATH = "/realms/fund"
KEYS = f"{PATH}/keys"
AUDIENCE = "trading-desk"
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass
class Provider:
    """What it publishes, and how it signs."""

    host: str
    port: int
    ca_file: Path
    keys: dict[str, Private] = field(default_factory=dict)
    issuer_told: str = ""
    """What discovery says; its own name when empty."""
    failing: bool = False
    """Answers 503 to who asks for the keys."""
    asked: int = 0
    """How often somebody asked for the keys."""

    @property
    def issuer(self) -> str:
        """Claim `iss` of its tokens."""
        return f"https://{self.host}:{self.port}{PATH}"

    @property
    def jwks_uri(self) -> str:
        """Where its keys are."""
        return f"https://{self.host}:{self.port}{KEYS}"

    def add(self, kid: str, algorithm: str) -> None:
        """Make a key and publish it."""
        if algorithm == "RS256":
            self.keys[kid] = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        else:
            self.keys[kid] = ec.generate_private_key(ec.SECP256R1())

    def token(self, kid: str, key: Private | None = None, **changed: Any) -> str:
        """Sign a good token; a claim that is None is left out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "alice@fund.example",
            "iat": now,
            "exp": now + 300,
            "realm_access": {"roles": ["offline_access", "operator"]},
        }
        held = {name: value for name, value in (claims | changed).items() if value is not None}
        signer = key or self.keys[kid]
        return jwt.encode(held, signer, algorithm_of(signer), headers={"kid": kid})

    async def discovery(self, _: web.Request) -> web.Response:
        """Answer where the keys are."""
        return web.json_response(
            {"issuer": self.issuer_told or self.issuer, "jwks_uri": self.jwks_uri}
        )

    async def published(self, _: web.Request) -> web.Response:
        """Answer with the public keys."""
        self.asked += 1
        if self.failing:
            raise web.HTTPServiceUnavailable
        return web.json_response({"keys": [public(kid, key) for kid, key in self.keys.items()]})


def algorithm_of(key: Private) -> str:
    """Return how a key signs."""
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"


def public(kid: str, key: Private) -> dict[str, Any]:
    """Return the public half as a JSON Web Key."""
    algorithm: Any = (
        jwt.algorithms.RSAAlgorithm
        if isinstance(key, rsa.RSAPrivateKey)
        else jwt.algorithms.ECAlgorithm
    )
    told: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
    return {**told, "kid": kid, "use": "sig", "alg": algorithm_of(key)}


@contextlib.asynccontextmanager
async def provider(
    folder: Path, table: Policy, *, names: tuple[str, ...] = ("localhost",)
) -> AsyncIterator[Provider]:
    """Run a provider whose certificate is for these names, of an authority of its own."""
    authority = Authority(folder, table)
    with authority.lock():
        leaf = authority.issue(GATEWAY, names)
    for name, text in (
        ("ca.pem", authority.trust),
        ("tls.crt", leaf.certificate),
        ("tls.key", leaf.key),
    ):
        (folder / name).write_text(text)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    made = Provider("localhost", 0, folder / "ca.pem")
    served = web.Application()
    served.router.add_get(PATH + WELL_KNOWN, made.discovery)
    served.router.add_get(KEYS, made.published)
    runner = web.AppRunner(served, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        made.port = runner.addresses[0][1]
        yield made
    finally:
        await runner.cleanup()
