"""What a backup keeps of the home besides database and bus: settings, market, paper exchange."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from pathlib import Path

from services.ctl.supervisor.home import Home

SECRETS = ("identities", "issuer", "secrets.json", "token")
"""Of the home, only with --with-secrets: keys, passwords, tokens."""
PLAIN = ("market.json", "up.json")
JOURNAL = Path("venue") / "journal.sqlite"
_SECRET = re.compile(r"(PASSWORD|SECRET|TOKEN|KEY|SEED|DSN)(?!.*_FILE$)|SLACK_URL$|WEBHOOK_URL$")
_LOGIN = re.compile(r"(://[^:/@\s]+):[^@\s]+@")


def take(home: Home, folder: Path, *, secrets: bool) -> None:
    """Copy settings and what the home knows of itself."""
    inside = folder / "home"
    inside.mkdir(parents=True)
    for name in (*PLAIN, *(SECRETS if secrets else ())):
        source = home.root / name
        if source.is_dir():
            shutil.copytree(source, inside / name)
        elif source.exists():
            shutil.copy2(source, inside / name)
    file = Path(os.environ.get("QUANTUM_ENV_FILE", ".env"))
    if file.is_file():
        text = file.read_text()
        (folder / "settings.env").write_text(text if secrets else without_secrets(text))
    _journal(home.root / JOURNAL, inside / JOURNAL)


def without_secrets(text: str) -> str:
    """Return the settings with the values of secrets left out."""
    return "".join(f"{_masked(line)}\n" for line in text.splitlines())


def _masked(line: str) -> str:
    key, equals, value = line.partition("=")
    if not equals or key.lstrip().startswith("#"):
        return line
    if _SECRET.search(key.strip()) and value.strip():
        return f"{key}=  # left out of the backup"
    plain = _LOGIN.sub(r"\1@", value)
    return f"{key}={plain}"


def _journal(source: Path, target: Path) -> None:
    """Copy the paper exchange's journal as of one moment while it is written."""
    if not source.exists():
        return
    target.parent.mkdir(parents=True)
    held, copy = sqlite3.connect(f"file:{source}?mode=ro", uri=True), sqlite3.connect(target)
    try:
        held.backup(copy)
    finally:
        held.close()
        copy.close()


def give_back(home: Home, folder: Path) -> None:
    """Put back what the home lacks; what it has stays, and so does the exchange's account."""
    inside = folder / "home"
    for name in (*PLAIN, *SECRETS, str(JOURNAL)):
        source, target = inside / name, home.root / name
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)
    _restrict(home)


def _restrict(home: Home) -> None:
    for name in SECRETS:
        place = home.root / name
        if not place.exists():
            continue
        for path in (place, *place.rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
