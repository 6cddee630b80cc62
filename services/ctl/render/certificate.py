"""Delivers the server's certificate to Envoy: one file with chain and key, renamed into place."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography import x509

from services.ctl.supervisor.home import read_json, write_whole

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105


def folder(envoy: Path) -> Path:
    """Where Envoy watches for a new certificate."""
    return envoy / "sds"


def write(envoy: Path, chain: str, key: str) -> Path:
    """Put the pair in place; in one file it can never be half of an old and half of a new one."""
    folder(envoy).mkdir(mode=0o700, parents=True, exist_ok=True)
    pair = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
    secret = {"@type": SECRET, "name": "server", "tls_certificate": pair}
    write_whole(_file(envoy), json.dumps({"resources": [secret]}) + "\n", 0o600)
    return _file(envoy)


def read(envoy: Path) -> x509.Certificate | None:
    """Return the certificate in place; None when there is none that can be read."""
    resources = read_json(_file(envoy)).get("resources", [])
    if not resources:
        return None
    chain: str = resources[0]["tls_certificate"]["certificate_chain"]["inline_string"]
    return x509.load_pem_x509_certificate(chain.encode())


def _file(envoy: Path) -> Path:
    return folder(envoy) / "server.json"
