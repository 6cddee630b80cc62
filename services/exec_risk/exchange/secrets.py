"""Keeps key, secret, signatures and listen keys out of everything that is said of a request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

_HIDDEN = "***"
_NAMED = re.compile(
    r"(?i)\b(signature|listenKey|X-MBX-APIKEY)(['\"]?\s*[=:]\s*['\"]?)[^&\s'\",})]+"
)

E = TypeVar("E", bound=BaseException)


class Redactor:
    """Knows what must never be said."""

    def __init__(self, *secrets: str) -> None:
        self._secrets = tuple(sorted((s for s in secrets if s), key=len, reverse=True))

    def __repr__(self) -> str:
        return "Redactor()"

    def text(self, text: str) -> str:
        """Return a text without what must not be said."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return _NAMED.sub(rf"\1\2{_HIDDEN}", text)

    def error(self, error: E) -> E:
        """Clean an exception in place, with all that it was caused by; return it.

        ccxt puts the whole address of a failed request, signature and all, into its exceptions.
        A cause that says something of it in a way that cannot be cleaned is cut off.
        """
        for each in list(_chain(error)):
            each.args = tuple(self.text(a) if isinstance(a, str) else a for a in each.args)
        for each in list(_chain(error)):
            if each.__cause__ is not None and not self._clean(each.__cause__):
                each.__cause__ = None
            if each.__context__ is not None and not self._clean(each.__context__):
                each.__context__ = None
        return error

    def _clean(self, error: BaseException) -> bool:
        return all(self.text(said) == said for said in (str(error), repr(error)))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
