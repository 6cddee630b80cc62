"""The home of one running system (`.quantum/`): where things lie, and whose it is."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.ctl.refused import Refused as Refused

if TYPE_CHECKING:
    from services.ctl.identities import Identities

DEFAULT = Path(".quantum")


class Home:
    """Paths below one home, and the small files that outlive a run."""

    def __init__(self, root: Path) -> None:
        """Nothing is created before it is needed."""
        self.root = root.resolve()
        self.run = self.root / "run"
        self.logs = self.root / "logs"
        self.envoy = self.run / "envoy"
        self.endpoints_file = self.run / "endpoints.json"
        self.processes_file = self.run / "processes.json"
        self.supervisor_file = self.run / "supervisor.json"
        self.spans_file = self.root / "traces" / "spans.sqlite"

    def create(self) -> None:
        """Make the folders; a place that cannot be written is refused."""
        try:
            for folder in (self.run, self.logs, self.envoy):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"cannot write {self.root} ({error.strerror}): choose --home") from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only supervisor of this home; the kernel frees the lock of one that died."""
        self.create()
        with (self.run / "lock").open("a+") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(
                    f"{self.root} is already running: `qt ps` shows it, `qt down` stops it"
                ) from None
            yield

    def supervised(self) -> bool:
        """Tell whether a supervisor holds this home."""
        if not (self.run / "lock").exists():
            return False
        try:
            with self.lock():
                return False
        except Refused:
            return True

    def secrets(self) -> dict[str, str]:
        """Return the keys of the paper exchange, made up once."""
        kept = self.root / "secrets.json"
        known = read_json(kept)
        names = ("api_key", "api_secret")
        if any(name not in known for name in names):
            known = {name: secrets.token_hex(24) for name in names} | known
            write_json(kept, known, mode=0o600)
        return known

    def identities(self) -> Identities:
        """Return the keys and passwords of the bus and the database."""
        # most commands show something and need no keys: they start without this
        from services.ctl import policy
        from services.ctl.identities import Identities

        return Identities(self.root / "identities", policy.load())

    def remembered(self) -> dict[str, Any]:
        """Return what this home was started with: market, seed, replicas."""
        return read_json(self.root / "market.json")

    def remember(self, values: Mapping[str, Any]) -> None:
        """Keep what the next start needs to know."""
        write_json(self.root / "market.json", {**self.remembered(), **values})


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in the file; empty when there is none or it is cut off."""
    try:
        held = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return held if isinstance(held, dict) else {}


def write_json(path: Path, value: Mapping[str, Any], mode: int = 0o644) -> None:
    """Put the file in place whole, so that no reader ever sees half of it."""
    write_whole(path, json.dumps(value, indent=2, sort_keys=True) + "\n", mode)


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write beside the file, then rename over it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.touch(mode=mode)
    fresh.write_text(text)
    fresh.replace(path)
