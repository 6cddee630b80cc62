"""Who a process is on the bus, and what the server said it may not do."""

from __future__ import annotations

import asyncio
import re
import ssl
import stat
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from services.kit.bus.errors import BusDenied

T = TypeVar("T")

_DENIED = re.compile(r'permissions violation for (?:publish|subscription) to "([^"]+)"', re.I)


class BadLogin(Exception):
    """A key or certificate file cannot be used; the text names it and says why."""


@dataclass(frozen=True, slots=True)
class BusLogin:
    """User, seed of its nkey and authority of the server; without a seed, nobody in particular."""

    user: str = ""
    nkey_file: Path | None = None
    ca_file: Path | None = None
    """Set: TLS, and the server must show a certificate of this authority for its host name."""

    def options(self) -> dict[str, Any]:
        """Return what the client is connected with; BadLogin when a file cannot be used."""
        found: dict[str, Any] = {}
        if self.nkey_file is not None:
            _require_private(self.nkey_file)
            found["nkeys_seed"] = str(self.nkey_file)
        if self.ca_file is not None:
            try:
                found["tls"] = ssl.create_default_context(cafile=self.ca_file)
            except OSError as error:
                raise BadLogin(f"NATS_CA_FILE {self.ca_file}: {error.strerror}") from error
        if self.user:
            # the server lets a user read its own replies alone
            found["inbox_prefix"] = inbox_prefix(self.user)
        return found


def inbox_prefix(user: str) -> str:
    """Return the first token of the subjects on which a user gets its replies."""
    return f"_INBOX_{user}"


def _require_private(file: Path) -> None:
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise BadLogin(f"NATS_NKEY_FILE {file}: {error.strerror}") from error
    if mode & stat.S_IRWXO:
        raise BadLogin(f"NATS_NKEY_FILE {file}: everybody can read it; chmod o-rwx {file}")


class Denials:
    """Turns what the server says aside into an error for the one who asked.

    The protocol does not tell which request was denied, only its subject, in lower case here: the
    caller would merely wait in vain.
    """

    def __init__(self) -> None:
        self._waiting: set[tuple[str, asyncio.Future[str]]] = set()

    def hear(self, error: Exception) -> str | None:
        """Return the denied subject, in lower case, when the error is a denial."""
        found = _DENIED.search(str(error))
        if found is None:
            return None
        denied = found[1].lower()
        for prefix, future in list(self._waiting):
            if denied.startswith(prefix) and not future.done():
                future.set_result(denied)
        return denied

    async def guard(self, prefix: str, work: Awaitable[T]) -> T:
        """Await the work; BusDenied as soon as a subject that begins so is denied."""
        task = asyncio.ensure_future(work)
        with self._wait_for(prefix) as denied:
            try:
                await asyncio.wait((task, denied), return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not task.done():
                    task.cancel()
            if denied.done():
                await asyncio.gather(task, return_exceptions=True)
                raise BusDenied(f"this user of the bus may not use {denied.result()}")
            return task.result()

    @contextmanager
    def _wait_for(self, prefix: str) -> Iterator[asyncio.Future[str]]:
        entry = (prefix.lower(), asyncio.get_running_loop().create_future())
        self._waiting.add(entry)
        try:
            yield entry[1]
        finally:
            self._waiting.discard(entry)
            entry[1].cancel()
