"""Rules of the fund's policy: each limit is asked besides the account's own of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.exec_risk.core.risk import entry_counts, fund
from services.exec_risk.core.risk.entry import Entry
from services.exec_risk.core.rules.rule import Gate, Rule
from services.exec_risk.core.state import Book
from services.trade.fund_modes import limits_in
from services.trade.fund_policy import FundMode, FundPolicy, SystemMode
from services.trade.times import MINUTE_MS

_SOURCE = "UpdatePolicy"
_CLOSED = (SystemMode.EMERGENCY, SystemMode.MAINTENANCE)


def _readable(book: Book) -> str | None:
    return fund.unreadable(book) or None


def _system_mode(book: Book) -> str | None:
    policy = fund.policy_of(book)
    if policy is None or policy.system_mode not in _CLOSED:
        return None
    return f"policy version {policy.version}: system mode is {policy.system_mode}"


def _fund_mode(book: Book) -> str | None:
    policy = fund.policy_of(book)
    if policy is None or policy.fund_mode is not FundMode.CRITICAL:
        return None
    return f"policy version {policy.version}: fund mode is {policy.fund_mode}"


def _symbols(entry: Entry) -> str | None:
    policy, symbol = fund.policy_of(entry.book), entry.signal.symbol
    if policy is None or symbol not in policy.blocked_symbols:
        return None
    return f"policy version {policy.version} blocks {symbol}"


def _positions(entry: Entry) -> str | None:
    limits = fund.limits_of(entry.book)
    used = entry_counts.slots_used(entry.book) - (1 if entry.adds_to else 0)
    if limits is None or used < limits.max_positions:
        return None
    return f"{used} of the fund's {limits.max_positions} positions are open or on their way"


def _orders(entry: Entry) -> str | None:
    limits = fund.limits_of(entry.book)
    used = entry_counts.entries_since(entry.book, MINUTE_MS)
    if limits is None or used < limits.max_orders_per_minute:
        return None
    return f"{used} of the fund's {limits.max_orders_per_minute} entries of the minute are used"


def _leverage(entry: Entry) -> str | None:
    limits = fund.limits_of(entry.book)
    if limits is None or entry.leverage <= limits.max_leverage:
        return None
    return f"leverage {entry.leverage} is above the fund's {limits.max_leverage}"


def _size(entry: Entry) -> str | None:
    limits = fund.limits_of(entry.book)
    if limits is None or limits.size_factor > 0:
        return None
    return "the fund's size factor is 0"


FUND_GATES: tuple[Gate, ...] = (
    Gate("system_mode", _system_mode, unit="mode", source=_SOURCE),
    Gate("fund_mode", _fund_mode, unit="mode", source=_SOURCE),
    Gate("fund_policy", _readable, unit="switch", source="key-value store"),
)
"""Asked with the account's own gates."""
FUND: tuple[Rule, ...] = (
    Rule("fund_symbols", _symbols, unit="names", source=_SOURCE),
    Rule("fund_positions", _positions, unit="positions", source=_SOURCE),
    Rule("fund_orders_per_minute", _orders, unit="entries in 60 s", source=_SOURCE),
    Rule("fund_leverage", _leverage, unit="times", source=_SOURCE),
    Rule("fund_size", _size, unit="factor", source=_SOURCE),
)
"""Asked before the account's own limits."""

SHOWN: Mapping[str, Callable[[FundPolicy], str]] = {
    "system_mode": lambda p: str(p.system_mode),
    "fund_mode": lambda p: str(p.fund_mode),
    "fund_policy": lambda p: f"version {p.version}",
    "fund_symbols": lambda p: ",".join(sorted(p.blocked_symbols)),
    "fund_positions": lambda p: str(limits_in(p).max_positions),
    "fund_orders_per_minute": lambda p: str(limits_in(p).max_orders_per_minute),
    "fund_leverage": lambda p: str(limits_in(p).max_leverage),
    "fund_size": lambda p: str(limits_in(p).size_factor),
}
"""The limit of each of these rules in a version of the policy."""
