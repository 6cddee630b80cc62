"""The local authority: a CA of elliptic keys, leaves that live a day, a CA changed in three steps.

A change of CA: `trust` (the old and the new one are trusted), `sign` (leaves come from the new
one), `finish` (only the new one is trusted). Between two steps every proxy has time to take what
the step before delivered, so that no handshake ever meets a CA that it does not know.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.ctl.policy import Policy
from services.ctl.supervisor.home import read_json, write_json, write_whole

LEAF_LIFE = timedelta(hours=24)
AUTHORITY_LIFE = timedelta(days=90)
BACKDATED = timedelta(minutes=5)
"""Clocks of machines differ: what is made now is valid since then."""
SETTLE = timedelta(seconds=2)
"""Least time between two steps of a change of CA; a proxy takes a new file within milliseconds."""
ORGANISATION = "quantum-trader"
STEPS = ("trust", "sign", "finish")

Now = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the wall time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate and its key, both PEM."""

    certificate: str
    key: str
    not_after: datetime


class Authority:
    """The CA in one folder (0700, keys 0600). Several processes may use it: a lock orders them."""

    def __init__(
        self, folder: Path, policy: Policy, *, now: Now = utc_now, settle: timedelta = SETTLE
    ) -> None:
        """The first CA is made when it is first needed. `now` is aware and UTC."""
        self._folder = folder
        self._policy = policy
        self._now = now
        self._settle = settle

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from changing the CA or what it delivers."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._folder / "lock").open("a+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def issue(self, identity: str, dns: Sequence[str] = (), *, life: timedelta = LEAF_LIFE) -> Leaf:
        """Return a new leaf with the SPIFFE id of the identity and these DNS names.

        It serves both sides of a connection, and never outlives the CA that signs it.
        """
        signer, signer_key = self._signer()
        now = self._now()
        key = ec.generate_private_key(ec.SECP256R1())
        uri = x509.UniformResourceIdentifier(self._policy.spiffe(identity))
        names = x509.SubjectAlternativeName([uri, *(x509.DNSName(name) for name in dns)])
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        not_after = min(now + life, signer.not_valid_after_utc)
        made = (
            _draft(identity, key.public_key(), now, not_after)
            .issuer_name(signer.subject)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
            .add_extension(_issued_by(signer), critical=False)
            .sign(signer_key, hashes.SHA256())
        )
        return Leaf(_pem(made), _key_pem(key), not_after)

    @property
    def trust(self) -> str:
        """Every CA that is trusted now, PEM."""
        return "".join(_pem(certificate) for certificate in self.trusted)

    @property
    def trusted(self) -> tuple[x509.Certificate, ...]:
        """Every CA that is trusted now, the oldest first."""
        return tuple(self._certificate(number) for number in self._state()["trusted"])

    @property
    def signing(self) -> x509.Certificate:
        """The CA from which new leaves come."""
        return self._certificate(self._state()["signing"])

    def good(self, leaf: x509.Certificate, identity: str) -> bool:
        """Tell whether the leaf is this identity's, young, and from the CA that signs now."""
        issuer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        return (
            issuer == _issued_by(self.signing)
            and uri(leaf) == self._policy.spiffe(identity)
            and _age(leaf, self._now()) < 1 / 2
        )

    @property
    def next_step(self) -> str:
        """The step of a change of CA that comes next; `trust` while none has begun."""
        state = self._state()
        if len(state["trusted"]) == 1:
            return STEPS[0]
        return STEPS[2] if state["signing"] == state["trusted"][-1] else STEPS[1]

    @property
    def changing(self) -> bool:
        """True while a change of CA is under way."""
        return self.next_step != STEPS[0]

    @property
    def due(self) -> bool:
        """True when the next step shall be done: a change is under way, or the CA is old.

        False while the step before has not settled.
        """
        if abs(self._now() - datetime.fromisoformat(self._state()["changed"])) < self._settle:
            return False
        return self.changing or _age(self.signing, self._now()) >= 2 / 3

    def advance(self) -> str:
        """Do the next step of a change of CA and return its name."""
        state = self._state()
        step = self.next_step
        if step == STEPS[0]:
            state["trusted"] = [*state["trusted"], self._create(state["signing"] + 1)]
        elif step == STEPS[1]:
            state["signing"] = state["trusted"][-1]
        else:
            for number in state["trusted"][:-1]:
                self._key_file(number).unlink(missing_ok=True)
            state["trusted"] = [state["signing"]]
        self._write(state)
        return step

    def _state(self) -> dict[str, Any]:
        """Return which CA signs and which are trusted; makes the first one."""
        kept = read_json(self._folder / "state.json")
        if kept:
            return kept
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._write({"signing": self._create(1), "trusted": [1]})

    def _write(self, state: dict[str, Any]) -> dict[str, Any]:
        state["changed"] = self._now().isoformat()
        write_json(self._folder / "state.json", state, mode=0o600)
        return state

    def _create(self, number: int) -> int:
        now = self._now()
        key = ec.generate_private_key(ec.SECP256R1())
        draft = _draft(f"local CA {number}", key.public_key(), now, now + AUTHORITY_LIFE)
        made = (
            draft.issuer_name(_name(f"local CA {number}"))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_whole(self._key_file(number), _key_pem(key), 0o600)
        write_whole(self._certificate_file(number), _pem(made))
        return number

    def _signer(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        number = self._state()["signing"]
        key = serialization.load_pem_private_key(self._key_file(number).read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self._key_file(number)} holds no elliptic key")
        return self._certificate(number), key

    def _certificate(self, number: int) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self._certificate_file(number).read_bytes())

    def _certificate_file(self, number: int) -> Path:
        return self._folder / f"ca-{number}.pem"

    def _key_file(self, number: int) -> Path:
        return self._folder / f"ca-{number}.key"


def uri(certificate: x509.Certificate) -> str:
    """Return the SPIFFE id of a leaf, empty when it has none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return "".join(names.get_values_for_type(x509.UniformResourceIdentifier)[:1])


def _age(certificate: x509.Certificate, now: datetime) -> float:
    """Return the share of its life that a certificate has behind it."""
    born, dies = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (now - born) / (dies - born)


def _draft(
    name: str, key: ec.EllipticCurvePublicKey, now: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, not_after) - BACKDATED)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issued_by(signer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
