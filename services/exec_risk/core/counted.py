"""A dict that counts its changes, so that what was computed from it need not be computed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Counted(dict[K, V]):
    """A dict with a number: who saw this number saw what it holds now.

    Every change goes through `[]=` and `del`, so a kind of it may keep more beside its items.
    """

    def __init__(self, items: Mapping[K, V] | None = None) -> None:
        super().__init__()
        self.revision = 0
        """How often an item was put or removed."""
        self.update(items or {})

    def __setitem__(self, key: K, value: V) -> None:
        self.revision += 1
        super().__setitem__(key, value)

    def __delitem__(self, key: K) -> None:
        self.revision += 1
        super().__delitem__(key)

    def setdefault(self, key: K, default: V) -> V:
        """Return what the key holds, put there now if it held nothing."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, items: Mapping[K, V]) -> None:  # type: ignore[override]
        """Put all of the items."""
        for key, value in items.items():
            self[key] = value

    def pop(self, key: K, *default: Any) -> Any:
        """Remove a key and return what it held, else the default; KeyError without one."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def clear(self) -> None:
        """Remove all."""
        for key in list(self):
            del self[key]

    def popitem(self) -> NoReturn:
        """Refused: TypeError."""
        raise TypeError("popitem would go uncounted")

    def __ior__(self, items: object) -> NoReturn:  # type: ignore[misc]
        raise TypeError("|= would go uncounted")
