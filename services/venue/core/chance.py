"""Chance without a generator: every draw is a hash of what it is drawn for.

No state and no counter, so a draw does not depend on what was drawn before it.
"""

from __future__ import annotations

from decimal import Decimal

from services.trade.ids import digest

_DRAW_DIGITS = 12
_DRAW_RANGE = Decimal(16**_DRAW_DIGITS)


def fraction(*parts: str | int) -> Decimal:
    """Return a number in [0, 1) that belongs to the parts."""
    return Decimal(int(digest(*parts, length=_DRAW_DIGITS), 16)) / _DRAW_RANGE


def identity(*parts: str | int) -> int:
    """Return a positive id below 2^53 (exact in JavaScript and in a double) of the parts."""
    return int(digest(*parts, length=13), 16) + 1
