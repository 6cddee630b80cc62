"""Switches and states that stop all entries, the strictest first."""

from __future__ import annotations

from services.exec_risk.core.risk import safety
from services.exec_risk.core.rules.fund import FUND_GATES
from services.exec_risk.core.rules.rule import Gate
from services.exec_risk.core.state import Book
from services.trade.position import TradingState


def _emergency_latch(book: Book) -> str | None:
    latch = book.latch
    return None if latch is None else f"emergency stop by {latch.by}: {latch.reason}"


def _trading_enabled(book: Book) -> str | None:
    return None if book.policy.trading_enabled else "TRADING_ENABLED is false"


def _trading_state(book: Book) -> str | None:
    state = book.trading_state
    return None if state is TradingState.ACTIVE else f"trading state is {state}"


def _drain(book: Book) -> str | None:
    return "the service drains" if book.gates.draining else None


def _maintenance(book: Book) -> str | None:
    return "the service is in maintenance" if book.gates.maintenance else None


def _postgres(book: Book) -> str | None:
    return "PostgreSQL does not answer" if book.gates.store_away else None


def _core_error(book: Book) -> str | None:
    found = book.gates.core_error
    return f"an exception inside the core: {found}" if found else None


def _exchange(book: Book) -> str | None:
    if not book.policy.venue_ready:
        return f"venue {book.policy.venue} is not set up for trading"
    if book.gates.exchange_away:
        return "the exchange is not connected"
    return None if book.connected else "the exchange's user stream is down"


def _equity(book: Book) -> str | None:
    equity = book.equity()
    if equity is None:
        return "equity is not known"
    return None if equity > 0 else f"equity is {equity}"


def _equity_drawdown(book: Book) -> str | None:
    drawdown, limit = book.drawdown(), book.policy.risk.emergency_drawdown
    if drawdown is None or drawdown < limit:
        return None
    return f"equity is {drawdown:.4f} below its highest, limit {limit}"


def _daily_drawdown(book: Book) -> str | None:
    loss, limit = book.day_loss(), book.policy.max_daily_drawdown
    if loss is None or loss < limit:
        return None
    return f"day's loss {loss:.4f} reaches {limit}"


def _safety_level(book: Book) -> str | None:
    found = safety.of(book)
    if min(found.leverage, found.size, found.exposure) > 0:
        return None
    return f"safety level is {book.safety}"


GATES: tuple[Gate, ...] = (
    Gate("emergency_latch", _emergency_latch, unit="switch", source="EmergencyStop"),
    Gate(
        "trading_enabled",
        _trading_enabled,
        lambda p: str(p.trading_enabled).lower(),
        "switch",
        "TRADING_ENABLED",
    ),
    Gate("trading_state", _trading_state, unit="switch", source="SetTradingState"),
    *FUND_GATES,
    Gate("drain", _drain, unit="switch", source="Drain"),
    Gate("maintenance", _maintenance, unit="switch", source="SetMaintenance"),
    Gate("postgres", _postgres, unit="switch", source="PostgreSQL"),
    Gate("core_error", _core_error, unit="switch", source="SetTradingState"),
    Gate("exchange", _exchange, unit="switch", source="EXCHANGE_VENUE"),
    Gate("equity", _equity, lambda _: "0", "USD", "exchange"),
    Gate(
        "equity_drawdown",
        _equity_drawdown,
        lambda p: str(p.risk.emergency_drawdown),
        "fraction",
        "EMERGENCY_STOP_THRESHOLD_PERCENT",
    ),
    Gate(
        "daily_drawdown",
        _daily_drawdown,
        lambda p: str(p.max_daily_drawdown),
        "fraction",
        "MAX_DAILY_DRAWDOWN_PERCENT",
    ),
    Gate(
        "safety_level",
        _safety_level,
        lambda p: str(p.risk.emergency_losses),
        "losses in a row",
        "EMERGENCY_LOSSES_IN_A_ROW",
    ),
)
"""All gates. Exits are never asked; an entry that waits or is worked is withdrawn by them too."""


def blocked_by(book: Book) -> str:
    """Return the name of the strictest gate that stops all entries now; '' when none does."""
    for gate in GATES:
        if gate.check(book) is not None:
            return gate.name
    return ""
