"""Keeps the gateway's credentials fresh: token checks, the operator's token, the certificate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from services.ctl import tokens
from services.ctl.delivery import authority_of
from services.ctl.policy import GATEWAY, Policy
from services.ctl.render import authentication, certificate
from services.ctl.settings import GatewaySettings
from services.ctl.supervisor.home import Home, write_whole


def trust_file(home: Home) -> Path:
    """Where the CAs lie that clients of the TLS door check it with."""
    return home.root / "ca.pem"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the gateway and `qt` show and check, in one home."""

    home: Home
    policy: Policy
    settings: GatewaySettings

    def tend(self) -> None:
        """Renew what ends soon and publish what changed; called twice a second. May block."""
        issuer = tokens.Issuer(self.home, self.policy)
        # the keys first: a token must never be out before its key
        authentication.write(self.home.envoy, self.policy, self.settings, issuer.jwks())
        tokens.renew(self.home, issuer, self.policy.roles[-1])
        self._certificate()

    def _certificate(self) -> None:
        authority = authority_of(self.home, self.policy)
        with authority.lock():
            if authority.trust != _text(trust_file(self.home)):
                write_whole(trust_file(self.home), authority.trust)
            names = self.settings.gateway_names
            held = certificate.read(self.home.envoy)
            if held is None or not authority.good(held, GATEWAY) or _names(held) != names:
                leaf = authority.issue(GATEWAY, dns=names)
                certificate.write(self.home.envoy, leaf.certificate, leaf.key)


def _names(held: x509.Certificate) -> tuple[str, ...]:
    found = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(found.get_values_for_type(x509.DNSName))


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
