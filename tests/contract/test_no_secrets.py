"""No secret lies in the repository or the image; what looks for them finds planted ones."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path

import nkeys
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.support.leaks import forms, found_below, found_in, looks_secret

ROOT = Path(__file__).resolve().parents[2]
BUILD_CONTEXT = ("services", "protos/gen", "gateway", "mesh/policy.yaml", "mesh/sidecar")
"""What `.dockerignore` lets through, and more: also files that git does not know."""


def tracked() -> list[str]:
    listed = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
    done = subprocess.run(listed, capture_output=True, check=True)
    return [name for name in done.stdout.decode().split("\0") if name]


def test_no_file_of_the_repository_looks_like_a_secret() -> None:
    names = tracked()
    assert len(names) > 500
    found = {
        name: seen
        for name in names
        if (ROOT / name).is_file() and (seen := looks_secret((ROOT / name).read_bytes()))
    }
    assert found == {}


def test_nothing_that_the_image_is_built_from_looks_like_a_secret() -> None:
    files = [file for place in BUILD_CONTEXT for file in below(ROOT / place)]
    assert len(files) > 300
    assert {str(f): seen for f in files if (seen := looks_secret(f.read_bytes()))} == {}


def below(place: Path) -> list[Path]:
    found = [place] if place.is_file() else sorted(place.rglob("*"))
    return [f for f in found if f.is_file() and f.suffix != ".pyc"]


def private_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def seed() -> str:
    made: bytes = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
    return made.decode()


def jwt() -> str:
    return f"ey{'J'}{secrets.token_hex(8)}.ey{'J'}{secrets.token_hex(20)}.{secrets.token_hex(32)}"


PLANTED: list[tuple[str, Callable[[], str]]] = [
    ("private key", private_key),
    ("private key", lambda: private_key().replace("\n", "\\n")),
    ("seed of NATS", lambda: f"NATS_SEED={seed()}"),
    ("key of AWS", lambda: "AKIA" + secrets.token_hex(8).upper()),
    ("token of GitHub", lambda: "ghp_" + secrets.token_hex(18)),
    ("token of Slack", lambda: "xoxb-" + secrets.token_hex(20)),
    ("webhook of Slack", lambda: "hooks.slack.com/services/T0AB1CD2E/B0AB1CD2E/" + "x1" * 12),
    ("token of Telegram", lambda: "123456789:" + secrets.token_hex(20)[:35]),
    ("JSON web token", jwt),
    ("password in an address", lambda: f"postgres://u:{secrets.token_hex(16)}@db/x"),
    ("value of a secret", lambda: f"BINANCE_API_SECRET={secrets.token_hex(24)}"),
    ("value of a secret", lambda: f'"password": "{secrets.token_urlsafe(32)}1a"'),
]


@pytest.mark.parametrize("number", range(len(PLANTED)))
def test_a_planted_secret_is_found(number: int) -> None:
    name, plant = PLANTED[number]
    assert name in looks_secret(f"# settings\nx = 1\n{plant()}\ny = 2\n".encode())


@pytest.mark.parametrize(
    "harmless",
    [
        "password_file = '/run/secrets/exec_risk_postgres_password'",
        "token = self._credentials.operator_token_of_this_home",
        "postgres://quantum_user@127.0.0.1:5432/quantum_trader",
        "ALERT_SLACK_URL_FILE=./keys/slack",
        "https://hooks.slack.com/services/YOUR/WEBHOOK/URL",
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_what_names_a_secret_is_none(harmless: str) -> None:
    assert looks_secret(harmless.encode()) == []


@given(st.binary(min_size=16, max_size=64), st.binary(max_size=200), st.binary(max_size=200))
def test_a_value_is_found_in_every_form(value: bytes, before: bytes, after: bytes) -> None:
    for form in forms(value):
        assert found_in(before + form + after, {"it": value}) == ["it"]
    other = bytes(byte ^ 0x55 for byte in value)
    assert found_in(value, {"other": other}) == []


def test_a_value_is_found_in_a_file_of_a_folder(tmp_path: Path) -> None:
    value = secrets.token_hex(16).encode()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "empty.log").touch()
    (tmp_path / "logs" / "ai-1.log").write_bytes(b'{"event": "x"}\n' * 1000 + b"key " + value)
    assert found_below([tmp_path], {"key": value, "no": b"not there at all"}) == {
        "ai-1.log": ["key"]
    }
