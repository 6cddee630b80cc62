"""Delivers certificates to the proxies: files that Envoy reads as secrets, put there by rename.

One file holds certificate and key of an identity, so that the two always fit; one holds the CAs to
trust. A proxy that watches the folder takes a new file while calls flow.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from services.catalog.processes import SERVICES
from services.ctl.certs import Authority, Now, uri, utc_now
from services.ctl.policy import Policy
from services.ctl.supervisor.home import Home, read_json, write_whole

IDENTITY = "identity"
TRUST = "trust"
"""Names of the two secrets, in the files and in the proxies' configuration."""
POLL_SECONDS = 0.1
TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True, slots=True)
class Held:
    """One certificate as people see it."""

    name: str
    subject: str
    not_after: str
    hours_left: float
    issuer: str


def certificates_folder(home: Home) -> Path:
    """Where the proxies of a home find their certificates, a folder an identity."""
    return home.run / "mesh" / "certificates"


def authority_of(home: Home, policy: Policy) -> Authority:
    """Return the local CA of a home."""
    return Authority(home.root / "ca", policy)


def of_home(home: Home, policy: Policy) -> Delivery:
    """Return the certificates of a home: of every identity in the policy."""
    return Delivery(
        authority=authority_of(home, policy),
        folder=certificates_folder(home),
        identities=policy.identities,
    )


class Delivery:
    """Keeps the certificates of all identities as they should be."""

    def __init__(
        self,
        *,
        authority: Authority,
        folder: Path,
        identities: Sequence[str],
        now: Now = utc_now,
    ) -> None:
        """`folder` gets a folder (0700) for each identity, with two files (0600)."""
        self._authority = authority
        self._folder = folder
        self._identities = tuple(identities)
        self._now = now

    def tend(self) -> list[str]:
        """Do what is due: one step of a change of CA, leaves at half life; return what was done."""
        with self._authority.lock():
            done = [f"CA: {self._authority.advance()}"] if self._authority.due else []
            return done + self._deliver()

    def renew_all(self) -> list[str]:
        """Give every identity a new leaf now and return the identities."""
        with self._authority.lock():
            return self._deliver(fresh=True)

    def rotate_authority(self) -> None:
        """Change the CA in three steps; blocks until the last one is done.

        A running system tends its certificates too and may do a step of these meanwhile.
        """
        with self._authority.lock():
            if not self._authority.changing:
                self._authority.advance()
            self._deliver()
        while self._authority.changing:
            time.sleep(POLL_SECONDS)
            self.tend()

    def held(self) -> list[Held]:
        """Return the trusted CAs and the leaf of every identity."""
        with self._authority.lock():
            signing = self._authority.signing
            rows = [
                self._row("CA" if ca == signing else "CA (trusted)", ca)
                for ca in self._authority.trusted
            ]
        for identity in self._identities:
            leaf = self._leaf(identity)
            if leaf is not None:
                rows.append(self._row(identity, leaf))
        return rows

    def _deliver(self, *, fresh: bool = False) -> list[str]:
        done = []
        bundle = {"trusted_ca": _inline(self._authority.trust)}
        trust = _secret(TRUST, {"validation_context": bundle})
        for identity in self._identities:
            folder = self._folder / identity
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            leaf = self._leaf(identity)
            if fresh or leaf is None or not self._authority.good(leaf, identity):
                write_whole(folder / "identity.json", self._fresh(identity), 0o600)
                done.append(identity)
            file = folder / "trust.json"
            if not file.exists() or file.read_text() != trust:
                write_whole(file, trust, 0o600)
        return done

    def _fresh(self, identity: str) -> str:
        leaf = self._authority.issue(identity, _dns(identity))
        pair = {
            "certificate_chain": _inline(leaf.certificate),
            "private_key": _inline(leaf.key),
        }
        return _secret(IDENTITY, {"tls_certificate": pair})

    def _leaf(self, identity: str) -> x509.Certificate | None:
        held = read_json(self._folder / identity / "identity.json")
        try:
            text = held["resources"][0]["tls_certificate"]["certificate_chain"]["inline_string"]
            return x509.load_pem_x509_certificate(text.encode())
        except (KeyError, IndexError, ValueError):
            return None

    def _row(self, name: str, certificate: x509.Certificate) -> Held:
        until = certificate.not_valid_after_utc
        return Held(
            name=name,
            subject=uri(certificate) or certificate.subject.rfc4514_string(),
            not_after=f"{until:%Y-%m-%d %H:%M:%S}Z",
            hours_left=round((until - self._now()).total_seconds() / 3600, 1),
            issuer=certificate.issuer.rfc4514_string(),
        )


def _dns(identity: str) -> tuple[str, ...]:
    """Return the process name, for tools that check names and know no SPIFFE ids (grpcurl)."""
    return tuple(known.name for known in SERVICES if known.key == identity)


def _secret(name: str, value: dict[str, Any]) -> str:
    secret = {"@type": TYPE, "name": name, **value}
    return json.dumps({"resources": [secret]}, indent=2) + "\n"


def _inline(text: str) -> dict[str, str]:
    return {"inline_string": text}
