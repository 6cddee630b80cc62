"""Headers of a message, looked up in the bytes that came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from nats.aio.client import Client

_WHITESPACE = " \t\n\r\x0b\x0c"
"""What `bytes.strip` takes away; `str.strip` takes more."""
_VERSION = b"NATS/1.0"


def lines(raw: bytes) -> dict[str, str] | None:
    """Read a block of plain headers; None for what is unusual, which nats-py's own code reads."""
    if not raw.isascii():
        return None
    text = raw.decode("ascii")
    found: dict[str, str] = _of_words(text)
    for line in () if found else text.split("\r\n"):
        name, separator, value = line.partition(":")
        if separator and name.isprintable() and " " not in name:
            found[name] = value.strip(_WHITESPACE)
        elif line:
            return None
    return found


def _of_words(text: str) -> dict[str, str]:
    """Read a block in which each line is a name and one word, as services write them; else {}."""
    words = text.split()
    names = _names(*words[::2])
    many = len(names)
    if len(words) == 2 * many == 2 * text.count(": ") == 2 * text.count("\r\n") - 2:
        return dict(zip(names, words[1::2], strict=True))
    return {}


@lru_cache(maxsize=256)
def _names(*words: str) -> tuple[str, ...]:
    """Return the names that the first words of lines end with a colon; () if one is none."""
    plain = all(word.find(":") == len(word) - 1 and word.isprintable() for word in words)
    return tuple(word[:-1] for word in words) if plain else ()


@lru_cache(maxsize=256)
def _sought(name: str) -> bytes:
    return b"\r\n%b:" % name.encode()


class Headers(Mapping[str, str]):
    """Reads one header when it is asked for, and all of them only when all are."""

    __slots__ = ("_all", "_raw")

    def __init__(self, raw: bytes) -> None:
        """Take the block as it came, its first line with it; empty when there was none."""
        self._raw = raw
        self._all: dict[str, str] | None = None if raw.isascii() else _read(raw)

    @property
    def status(self) -> str:
        """Status of a message that is the server's own, as `100`; '' when it is none."""
        first = self._raw[len(_VERSION) : self._raw.find(b"\r\n")].split(None, 1)
        return first[0].decode("ascii", "replace") if first else ""

    def whole(self) -> Mapping[str, str]:
        """Return all headers, read at once: cheaper than a look-up each for more than two."""
        return self._read()

    def __contains__(self, name: object) -> bool:
        if self._all is None and isinstance(name, str):
            return _sought(name) in self._raw
        return name in self._read()

    def __getitem__(self, name: str) -> str:
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header, or the default: a header that is missing is no exception."""
        found = self._find(name)
        return default if found is None else found

    def _find(self, name: str) -> str | None:
        if self._all is not None:
            return self._all.get(name)
        wanted = _sought(name)
        at = self._raw.rfind(wanted)
        if at < 0:
            return None
        begin = at + len(wanted)
        return self._raw[begin : self._raw.find(b"\r\n", begin)].decode("ascii").strip(_WHITESPACE)

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> dict[str, str]:
        if self._all is None:
            self._all = _read(self._raw)
        return self._all


def _read(raw: bytes) -> dict[str, str]:
    block = raw[raw.find(b"\r\n") + 2 :]
    found = lines(block)
    return Client._parse_header_lines(block) if found is None else found
