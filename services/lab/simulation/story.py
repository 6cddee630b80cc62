"""What happened, line by line, and its hash: the same seed must tell the same story."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import NamedTuple


class Line(NamedTuple):
    """One thing that happened."""

    wall: float
    """Virtual seconds since the start."""
    market: int
    """Market time in ms."""
    who: str
    text: str


class Story:
    """Keeps the last lines and the hash of all."""

    def __init__(self, keep: int = 400) -> None:
        self.lines: deque[Line] = deque(maxlen=keep)
        self._hash = hashlib.blake2b(digest_size=16)
        self.length = 0

    def tell(self, wall: float, market: int, who: str, text: str) -> None:
        """Add a line."""
        self.lines.append(Line(wall, market, who, text))
        self._hash.update(f"{wall:.6f}|{market}|{who}|{text}\n".encode())
        self.length += 1

    @property
    def digest(self) -> str:
        """Hash of every line so far."""
        return self._hash.hexdigest()
