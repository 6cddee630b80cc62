"""Rules about the account: places, pace, leverage."""

from __future__ import annotations

from services.exec_risk.core.risk import entry_counts, leverage
from services.exec_risk.core.risk.entry import Entry
from services.exec_risk.core.rules.rule import Rule
from services.trade.times import MINUTE_MS


def _open_positions(entry: Entry) -> str | None:
    used, limit = entry_counts.slots_used(entry.book), entry.policy.max_positions
    used -= 1 if entry.adds_to else 0
    return f"{used} of {limit} positions are open or on their way" if used >= limit else None


def _execution_errors(entry: Entry) -> str | None:
    limits = entry.policy.risk
    failed = entry_counts.failed_entries(entry.book, limits.execution_errors_ms)
    if failed < limits.max_execution_errors:
        return None
    return f"{failed} entries failed within {limits.execution_errors_ms} ms"


def _trades_per_day(entry: Entry) -> str | None:
    used, limit = entry_counts.entries_today(entry.book), entry.policy.risk.max_trades_per_day
    return f"{used} of {limit} trades of the day are used" if used >= limit else None


def _orders_per_minute(entry: Entry) -> str | None:
    used, limit = (
        entry_counts.entries_since(entry.book, MINUTE_MS),
        entry.policy.risk.max_orders_per_minute,
    )
    return f"{used} of {limit} entries of the minute are used" if used >= limit else None


def _leverage(entry: Entry) -> str | None:
    cap = entry.policy.leverage_cap(entry.filters)
    if 1 <= entry.leverage <= cap:
        return None
    return f"leverage {entry.leverage} is not between 1 and {cap}"


def _liquidation(entry: Entry) -> str | None:
    cap = leverage.cap(entry.book, entry.filters, entry.stop_fraction)
    if entry.leverage <= cap:
        return None
    distance = leverage.liquidation_distance(
        entry.leverage, entry.filters, entry.policy.max_position_usd
    )
    return (
        f"leverage {entry.leverage} is above {cap}: liquidation at {distance:.4f} is too near to"
        f" the stop at {entry.stop_fraction}, or safety level {entry.book.safety} allows less"
    )


ACCOUNT: tuple[Rule, ...] = (
    Rule(
        "execution_errors",
        _execution_errors,
        lambda p: str(p.risk.max_execution_errors),
        "failed entries in 15 minutes",
        "MAX_EXECUTION_ERRORS",
    ),
    Rule(
        "trades_per_day",
        _trades_per_day,
        lambda p: str(p.risk.max_trades_per_day),
        "positions a UTC day",
        "MAX_TRADES_PER_DAY",
    ),
    Rule(
        "open_positions",
        _open_positions,
        lambda p: str(p.max_positions),
        "positions",
        "MAX_POSITIONS",
    ),
    Rule(
        "orders_per_minute",
        _orders_per_minute,
        lambda p: str(p.risk.max_orders_per_minute),
        "entries in 60 s",
        "MAX_ORDERS_PER_MINUTE",
    ),
    Rule("leverage", _leverage, lambda p: str(p.leverage_cap(None)), "times", "MAX_LEVERAGE"),
    Rule(
        "liquidation",
        _liquidation,
        lambda p: str(p.risk.liquidation_factor),
        "times the stop's distance",
        "LIQUIDATION_STOP_FACTOR",
    ),
)
"""Asked once stop and target are known."""
