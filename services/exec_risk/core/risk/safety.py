"""How careful the account is, by its own results.

A level rises at once: to CAUTIOUS and DEFENSIVE by the day's loss, to CAUTIOUS and EMERGENCY by
losses in a row. It falls one level at a time, each after `relax_ms` of market time, and never
below what the numbers ask for now. EMERGENCY is asked for only by the loss that completes the row:
without entries there are no results, and a level that only results could end would never end.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core.facts import SafetyLevelChanged
from services.exec_risk.core.state import Book
from services.trade.position import SafetyLevel


@dataclass(frozen=True, slots=True)
class Multipliers:
    """What a level leaves of leverage, size and exposure; 0 means no entries."""

    leverage: Decimal
    size: Decimal
    exposure: Decimal


_ORDER = tuple(SafetyLevel)
MULTIPLIERS = {
    SafetyLevel.NORMAL: Multipliers(Decimal(1), Decimal(1), Decimal(1)),
    SafetyLevel.CAUTIOUS: Multipliers(Decimal("0.75"), Decimal("0.75"), Decimal("0.85")),
    SafetyLevel.DEFENSIVE: Multipliers(Decimal("0.5"), Decimal("0.5"), Decimal("0.6")),
    SafetyLevel.EMERGENCY: Multipliers(Decimal(0), Decimal(0), Decimal(0)),
}
"""The earlier system's Safety Governor."""


def of(book: Book) -> Multipliers:
    """Return the multipliers in force."""
    return MULTIPLIERS[book.safety]


def after_close(book: Book, *, lost: bool) -> None:
    """Look at the results after a position closed."""
    losses, limits = book.results.losses_in_a_row(), book.policy.risk
    if lost and losses >= limits.emergency_losses:
        _change(book, SafetyLevel.EMERGENCY, f"{losses} losses in a row")
        return
    review(book)


def review(book: Book) -> None:
    """Raise the level to what the numbers ask for, or relax it by one when its time is over."""
    asked, why = _asked(book)
    if _ORDER.index(asked) > _ORDER.index(book.safety):
        _change(book, asked, why)
    elif asked is not book.safety and book.time - book.safety_since >= book.policy.risk.relax_ms:
        milder = _ORDER[_ORDER.index(book.safety) - 1]
        _change(book, milder, f"{book.safety} has lasted its time")


def _asked(book: Book) -> tuple[SafetyLevel, str]:
    limits, loss = book.policy.risk, book.day_loss()
    losses = book.results.losses_in_a_row()
    if loss is not None and loss >= limits.defensive_drawdown:
        return SafetyLevel.DEFENSIVE, f"the day's loss is {loss:.4f}"
    if loss is not None and loss >= limits.cautious_drawdown:
        return SafetyLevel.CAUTIOUS, f"the day's loss is {loss:.4f}"
    if losses >= limits.cautious_losses:
        return SafetyLevel.CAUTIOUS, f"{losses} losses in a row"
    return SafetyLevel.NORMAL, "results are as usual"


def _change(book: Book, level: SafetyLevel, reason: str) -> None:
    previous, book.safety, book.safety_since = book.safety, level, book.time
    book.emit(SafetyLevelChanged(previous, level, reason, book.time))
    if _ORDER.index(level) > _ORDER.index(previous):
        text = f"safety level {previous} to {level}: {reason}"
        severity = "HIGH" if level is SafetyLevel.EMERGENCY else "MEDIUM"
        book.alert(severity, "SAFETY_LEVEL", text)
