"""Rules about the size that the entry would have."""

from __future__ import annotations

from services.exec_risk.core.executions.strategies import smart
from services.exec_risk.core.risk.entry import Entry
from services.exec_risk.core.rules.rule import Rule


def _notional(entry: Entry) -> str | None:
    notional, limit = entry.sized().notional, entry.rooms()["notional"]
    return f"notional {notional} is above {limit}" if notional > limit else None


def _refusal(entry: Entry, name: str) -> str | None:
    """Return the sentence when the entry is larger than the named room, or nothing fits there."""
    room = entry.rooms()[name]
    needed = max(entry.sized().notional, entry.filters.min_notional)
    return f"{needed} USD more, {room} USD are free" if needed > room else None


def _gross(entry: Entry) -> str | None:
    return _refusal(entry, "gross_exposure")


def _net(entry: Entry) -> str | None:
    return _refusal(entry, "net_exposure")


def _symbol_share(entry: Entry) -> str | None:
    return _refusal(entry, "symbol_share")


def _cluster_share(entry: Entry) -> str | None:
    return _refusal(entry, "cluster_share")


def _margin(entry: Entry) -> str | None:
    free = entry.equity * entry.policy.margin_share - entry.book.margin_used()
    needed = max(entry.sized().margin, entry.filters.min_notional / entry.leverage)
    return f"margin {needed} is above the free {free}" if needed > free else None


def _filters(entry: Entry) -> str | None:
    found, filters = entry.sized(), entry.filters
    if found.quantity <= 0:
        return "quantity rounds to 0"
    if found.quantity < filters.min_quantity:
        return f"quantity {found.quantity} is below {filters.min_quantity}"
    if found.quantity > filters.market_max_quantity:
        return f"quantity {found.quantity} is above {filters.market_max_quantity}"
    if found.notional < filters.min_notional:
        return f"notional {found.notional} is below {filters.min_notional}"
    if filters.floor_quantity(found.quantity) != found.quantity:
        return f"quantity {found.quantity} is no multiple of {filters.step_size}"
    return None


def _slippage(entry: Entry) -> str | None:
    quantity, cap = entry.sized().quantity, entry.slippage_cap
    impact = entry.expected_impact(quantity)
    if impact is None:
        return f"no volume of {entry.signal.symbol} is known"
    policy = entry.policy.execution
    one = smart.impact_of_one(entry.strategy or policy.entry_strategy, impact, cap, policy)
    return f"expected impact {one:.5f} is above {cap}" if one > cap else None


SIZE: tuple[Rule, ...] = (
    Rule("notional", _notional, lambda p: str(p.max_position_usd), "USD", "MAX_POSITION_SIZE_USD"),
    Rule(
        "gross_exposure",
        _gross,
        lambda p: str(p.max_exposure_usd),
        "USD",
        "MAX_PORTFOLIO_EXPOSURE_USD",
    ),
    Rule("margin", _margin, lambda p: str(p.margin_share), "fraction of equity", "exchange"),
    Rule(
        "net_exposure",
        _net,
        lambda p: str(p.risk.max_net_share),
        "fraction of the exposure",
        "MAX_NET_EXPOSURE_PERCENT",
    ),
    Rule(
        "symbol_share",
        _symbol_share,
        lambda p: str(p.risk.max_symbol_share),
        "fraction of the exposure",
        "MAX_SYMBOL_SHARE_PERCENT",
    ),
    Rule(
        "cluster_share",
        _cluster_share,
        lambda p: str(p.risk.max_cluster_share),
        "fraction of the exposure",
        "MAX_CLUSTER_SHARE_PERCENT",
    ),
    Rule("filters", _filters, unit="", source="exchangeInfo"),
    Rule(
        "slippage",
        _slippage,
        lambda p: str(p.execution.max_slippage),
        "fraction of the price",
        "MAX_SLIPPAGE_PERCENT",
    ),
)
"""Asked last."""
