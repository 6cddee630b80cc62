"""The local CA, its leaves, and how they reach the proxies."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from services.ctl import policy
from services.ctl.__main__ import app
from services.ctl.certs import AUTHORITY_LIFE, LEAF_LIFE, Authority, uri
from services.ctl.delivery import Delivery

RULES = policy.load()


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def authority(tmp_path: Path, time: Time) -> Authority:
    return Authority(tmp_path / "ca", RULES, now=time)


@pytest.fixture
def delivery(authority: Authority, tmp_path: Path, time: Time) -> Delivery:
    folder = tmp_path / "certificates"
    return Delivery(authority=authority, folder=folder, identities=RULES.identities, now=time)


def leaf(folder: Path, identity: str) -> x509.Certificate:
    held = json.loads((folder / "certificates" / identity / "identity.json").read_text())
    pair = held["resources"][0]["tls_certificate"]
    return x509.load_pem_x509_certificate(pair["certificate_chain"]["inline_string"].encode())


def trusted(folder: Path, identity: str) -> list[x509.Certificate]:
    held = json.loads((folder / "certificates" / identity / "trust.json").read_text())
    bundle = held["resources"][0]["validation_context"]["trusted_ca"]["inline_string"]
    return x509.load_pem_x509_certificates(bundle.encode())


def test_a_leaf_names_its_identity_lives_a_day_and_is_signed_by_the_ca(
    authority: Authority, time: Time
) -> None:
    issued = authority.issue("ai", dns=("nats", "localhost"))
    made = x509.load_pem_x509_certificate(issued.certificate.encode())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert uri(made) == "spiffe://quantum.local/ai"
    assert names.get_values_for_type(x509.DNSName) == ["nats", "localhost"]
    assert made.not_valid_after_utc == time.now + LEAF_LIFE == issued.not_after
    made.verify_directly_issued_by(authority.signing)


def test_a_leaf_never_outlives_its_ca(authority: Authority, time: Time) -> None:
    dies = authority.signing.not_valid_after_utc
    time.now = dies - timedelta(hours=1)
    assert authority.issue("ai").not_after == dies


def test_keys_are_for_their_owner_alone(
    authority: Authority, delivery: Delivery, tmp_path: Path
) -> None:
    delivery.tend()
    for file in tmp_path.rglob("*"):
        mode = file.stat().st_mode & 0o777
        assert file.suffix != ".key" or mode == 0o600, file
        assert file.name != "identity.json" or mode == 0o600, file
        assert not file.is_dir() or file.name == "certificates" or mode == 0o700, file


def test_every_identity_of_the_policy_gets_a_certificate_and_a_second_look_changes_nothing(
    delivery: Delivery, tmp_path: Path
) -> None:
    assert set(delivery.tend()) == {"gateway", "ai", "exec_risk", "analytics"}
    assert delivery.tend() == []
    assert uri(leaf(tmp_path, "gateway")) == "spiffe://quantum.local/gateway"


@pytest.mark.parametrize(("hours", "renewed"), [(11.9, False), (12.1, True), (30, True)])
def test_leaves_are_renewed_at_half_their_life(
    delivery: Delivery, time: Time, tmp_path: Path, hours: float, renewed: bool
) -> None:
    delivery.tend()
    before = leaf(tmp_path, "ai")
    time.now += timedelta(hours=hours)
    assert bool(delivery.tend()) is renewed
    assert (leaf(tmp_path, "ai") != before) is renewed


@pytest.mark.parametrize("junk", ["", "{", "{}", '{"resources": []}', '{"resources": [{}]}'])
def test_a_spoiled_file_is_replaced(delivery: Delivery, tmp_path: Path, junk: str) -> None:
    delivery.tend()
    (tmp_path / "certificates" / "ai" / "identity.json").write_text(junk)
    (tmp_path / "certificates" / "gateway" / "trust.json").write_text(junk)
    assert delivery.tend() == ["ai"]
    assert uri(leaf(tmp_path, "ai")).endswith("/ai")
    assert len(trusted(tmp_path, "gateway")) == 1


def test_a_change_of_ca_trusts_before_it_signs_and_signs_before_it_forgets(
    authority: Authority, delivery: Delivery, time: Time, tmp_path: Path
) -> None:
    delivery.tend()
    old = authority.signing
    time.now += AUTHORITY_LIFE * 0.7
    seen = []
    for _ in range(8):
        done = [line for line in delivery.tend() if line.startswith("CA: ")]
        seen += done
        for identity in RULES.identities:
            issuers = trusted(tmp_path, identity)
            assert any(
                leaf(tmp_path, other).issuer == issuer.subject
                for other in RULES.identities
                for issuer in issuers
            )
        time.now += timedelta(seconds=1)
    assert seen == ["CA: trust", "CA: sign", "CA: finish"]
    assert old not in authority.trusted and len(authority.trusted) == 1
    assert leaf(tmp_path, "ai").issuer == authority.signing.subject


@given(st.lists(st.sampled_from(["tend", "renew", "wait", "step", "age"]), max_size=25))
def test_whatever_happens_every_leaf_is_trusted_by_every_identity(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """Also those of the delivery before: proxies take files one by one."""
    folder, time = tmp_path_factory.mktemp("mesh"), Time()
    authority = Authority(folder / "ca", RULES, now=time)
    delivery = Delivery(
        authority=authority, folder=folder / "certificates", identities=["ai", "gateway"], now=time
    )
    delivery.tend()
    before = [leaf(folder, name) for name in ("ai", "gateway")]
    for step in steps:
        if step == "tend":
            delivery.tend()
        elif step == "renew":
            delivery.renew_all()
        elif step == "step" and authority.due:
            delivery.tend()
        else:
            time.now += timedelta(seconds=3) if step == "wait" else timedelta(days=25)
        after = [leaf(folder, name) for name in ("ai", "gateway")]
        for certificate in [*before, *after] if step != "age" else after:
            subjects = [ca.subject for ca in trusted(folder, "ai")]
            assert certificate.issuer in subjects
        before = after


def test_certs_show_rotate_and_rotate_the_ca(tmp_path: Path) -> None:
    def qt(*arguments: str) -> str:
        told = CliRunner().invoke(app, ["certs", *arguments, f"--home={tmp_path}"])
        assert told.exit_code == 0, told.output
        return told.output

    assert "ai" in qt("rotate")
    table = qt("show")
    assert "expires" in table and "spiffe://quantum.local/exec_risk" in table
    rows = json.loads(qt("show", "--json"))
    assert [row["name"] for row in rows] == ["CA", "gateway", "ai", "exec_risk", "analytics"]
    assert 23 < rows[1]["hours_left"] <= 24
    changed = json.loads(qt("rotate-ca", "--json"))
    assert changed[0]["subject"] != rows[0]["subject"]
    assert {row["issuer"] for row in changed} == {changed[0]["subject"]}


@pytest.mark.parametrize("command", ["show", "rotate", "rotate-ca", "keep"])
def test_every_certs_command_explains_itself(command: str) -> None:
    told = CliRunner().invoke(app, ["certs", command, "--help"])
    assert told.exit_code == 0 and "Example: " in told.output
