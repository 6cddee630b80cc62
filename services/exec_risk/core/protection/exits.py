"""Exits by rule: each a function of a position and a market time. No gate of entries is asked."""

from __future__ import annotations

from collections.abc import Callable

from services.exec_risk.core import isolation
from services.exec_risk.core.protection import guard
from services.exec_risk.core.state import Book
from services.trade.position import ExitReason, Position


def held_too_long(book: Book, position: Position, now: int) -> str | None:
    """Say why a position is left by time; None when it is not."""
    limit = book.policy.protection.max_holding_ms
    put_off = guard.progress_of(book, position).hold_until
    if now - position.opened_time < limit or now < put_off:
        return None
    return f"held for {now - position.opened_time} ms, longest is {limit}"


RULES: tuple[tuple[ExitReason, Callable[[Book, Position, int], str | None]], ...] = (
    (ExitReason.TIMEOUT, held_too_long),
)
"""Asked once a round, in this order; the first that answers closes the position."""


def leave_by_rule(book: Book, now: int) -> None:
    """Close the positions that a rule wants closed at a market time."""
    isolation.each(book, sorted(book.positions), lambda b, symbol: _leave(b, symbol, now))


def _leave(book: Book, symbol: str, now: int) -> None:
    position = book.positions[symbol]
    for reason, rule in RULES:
        why = rule(book, position, now) if position.exit_reason is None else None
        if why is not None:
            guard.close(book, position, reason, why)
            break
