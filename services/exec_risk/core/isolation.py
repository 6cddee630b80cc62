"""Going on with the other symbols when one fails: no position's exit waits for another's defect."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from services.exec_risk.core.state import Book

T = TypeVar("T")


def each(book: Book, items: Iterable[T], act: Callable[[Book, T], object]) -> None:
    """Act on each item; an exception drops what that item decided and is noted for the shell.

    The shell tells of it, stops entries and throws this book away.
    """
    for item in items:
        decided = len(book.out)
        try:
            act(book, item)
        except Exception as error:  # noqa: BLE001 - noted in the book, from where it is told
            del book.out[decided:]
            book.failed.append(f"{type(error).__name__} for {item}: {error}")
