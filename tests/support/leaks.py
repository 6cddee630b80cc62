"""Looks for secrets: by their form in files, and by their value in what a run leaves behind."""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote_from_bytes

from services.ctl.supervisor.home import Home, read_json

PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----([A-Za-z0-9+/=\s\\]{60,})")
FORMS: Mapping[str, re.Pattern[bytes]] = {
    "private key": PRIVATE_KEY,
    "seed of NATS": re.compile(rb"\bS[UOANCX][A-Z2-7]{56}\b"),
    "key of AWS": re.compile(rb"\bAKIA[0-9A-Z]{16}\b"),
    "token of GitHub": re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36,}"),
    "token of Slack": re.compile(rb"\bxox[abprs]-[0-9A-Za-z-]{20,}"),
    "webhook of Slack": re.compile(rb"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{20,}"),
    "token of Telegram": re.compile(rb"\b\d{8,10}:[A-Za-z0-9_-]{35}\b"),
    "JSON web token": re.compile(rb"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}"),
    "password in an address": re.compile(rb"\b[a-z]{3,}://[\w.-]+:([A-Za-z0-9_!.+-]{12,})@"),
    "value of a secret": re.compile(
        rb"(?i)(?:secret|passw(?:or)?d|api_?key|token)[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9+/_-]{24,}=*)"
    ),
}
"""How secrets look. What a pattern groups must look made up by chance to count."""
CHANCE_BITS = 2.8
"""Entropy a character from which a text counts as made up; names of things stay below."""
_PEM_LINE = re.compile(rb"[A-Za-z0-9+/]{60,64}")


def looks_secret(content: bytes) -> list[str]:
    """Return which forms of secrets a content has."""
    return [name for name, form in FORMS.items() if any(map(_by_chance, form.finditer(content)))]


def _by_chance(match: re.Match[bytes]) -> bool:
    if not match.re.groups or match.re is PRIVATE_KEY:
        return True
    value = match[1]
    mixed = re.search(rb"\d", value) and re.search(rb"[A-Za-z]", value)
    return bool(mixed) and entropy(value) >= CHANCE_BITS


def entropy(value: bytes) -> float:
    """Return the bits a character of how often each occurs (Shannon)."""
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())


def secrets_of(home: Home) -> dict[str, bytes]:
    """Return every secret of a running system; names begin with where it lies in the home."""
    root = home.root
    found = {f"secrets.json {name}": value.encode() for name, value in home.secrets().items()}
    for file in sorted((root / "identities").rglob("*")):
        if file.suffix in (".nk", ".password", ".token"):
            found[str(file.relative_to(root))] = file.read_bytes().strip()
    found["postgres/password"] = (root / "postgres" / "password").read_bytes().strip()
    found["run/supervisor.json"] = read_json(home.supervisor_file)["token"].encode()
    found["token"] = (root / "token").read_bytes().strip().rpartition(b".")[2]
    for folder in ("issuer", "run", "certs", "mesh"):
        for file in sorted((root / folder).rglob("*")):
            if file.is_file():
                keys = PRIVATE_KEY.findall(file.read_bytes())
                lines = [line for key in keys for line in _PEM_LINE.findall(key)[:1]]
                names = (f"{file.relative_to(root)} {number}" for number in range(len(lines)))
                found |= dict(zip(names, lines, strict=True))
    return found


def homes_of(home: Home, secrets: Iterable[str]) -> set[Path]:
    """Return the files in which secrets lie by intention."""
    return {home.root / name.partition(" ")[0] for name in secrets}


def forms(value: bytes) -> frozenset[bytes]:
    """Return how a value is written in logs, addresses, headers and dumps."""
    return frozenset(
        {
            value,
            quote_from_bytes(value, safe="").encode(),
            base64.b64encode(value).rstrip(b"="),
            value.hex().encode(),
        }
    )


def found_in(content: bytes, wanted: Mapping[str, bytes]) -> list[str]:
    """Return the names of those that the content holds, in any form."""
    return [
        name
        for name, value in wanted.items()
        if any(content.find(form) >= 0 for form in forms(value))
    ]


def found_below(roots: Iterable[Path], wanted: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Return what each file below these places holds; files without any are left out."""
    found: dict[str, list[str]] = {}
    for file in _files(roots):
        try:
            names = found_in(file.read_bytes(), wanted)
        except FileNotFoundError:  # a server took it away meanwhile
            continue
        if names:
            found[file.name] = names
    return found


def _files(roots: Iterable[Path]) -> Iterator[Path]:
    for root in roots:
        for file in [root] if root.is_file() else sorted(root.rglob("*")):
            if file.is_file() and file.stat().st_size:
                yield file
