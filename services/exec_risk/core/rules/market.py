"""Rules about the symbol's market: price, spread, funding, volatility, protection.

The paper venue tells bid, ask and funding with every point; what is not known before the first one
passes there. On demo and live what is not known or old refuses.
"""

from __future__ import annotations

from services.exec_risk.core.protection import costs, protection
from services.exec_risk.core.risk.entry import Entry
from services.exec_risk.core.rules.rule import Rule
from services.trade.position import PositionSide


def _price(entry: Entry) -> str | None:
    found = entry.book.prices.get(entry.signal.symbol)
    if found is None or found[0] <= 0:
        return f"no price of {entry.signal.symbol}"
    age = entry.now - found[1]
    limit = entry.policy.max_price_age_ms
    return f"price is {age} ms old, limit {limit}" if age > limit else None


def _unknown(entry: Entry, what: str) -> str | None:
    return f"{what} is not known" if entry.policy.quotes_needed else None


def _spread(entry: Entry) -> str | None:
    quote, limit = entry.fresh_quote(), entry.policy.risk.max_spread
    spread = quote.spread if quote else None
    if spread is None:
        return _unknown(entry, "the spread")
    return f"spread {spread:.6f} is above {limit}" if spread > limit else None


def _funding(entry: Entry) -> str | None:
    paid, limit = entry.funding_paid(), entry.policy.risk.max_funding
    if paid is None:
        return _unknown(entry, "the funding rate")
    return f"{entry.signal.side} pays funding of {paid}, limit {limit}" if paid >= limit else None


def _volatility(entry: Entry) -> str | None:
    atr, limit = entry.signal.atr_fraction, entry.policy.risk.max_volatility
    if atr.is_finite() and atr <= limit:
        return None
    return f"average true range {atr} is above {limit}"


def _protection(entry: Entry) -> str | None:
    try:
        found = protection.fractions(
            entry.signal.atr_fraction, entry.signal.confidence, entry.policy.protection
        )
        found = protection.asked(found, entry.stop_asked, entry.take_asked, entry.policy.protection)
    except protection.AbsurdDistance as error:
        return str(error)
    entry.stop_fraction, entry.take_fraction = found
    return None


def _stop_outside_spread(entry: Entry) -> str | None:
    least = costs.spread(entry.book, entry.signal.symbol) * entry.policy.protection.stop_spreads
    if entry.stop_fraction > least:
        return None
    return f"stop {entry.stop_fraction} is inside {least}, too near for the spread"


def _target_clears_costs(entry: Entry) -> str | None:
    side = PositionSide.opened_by(entry.signal.side)
    cost = costs.round_trip(entry.book, entry.signal.symbol, side, entry.now)
    if entry.take_fraction > cost:
        return None
    return f"target {entry.take_fraction} does not clear costs of {cost}"


MARKET: tuple[Rule, ...] = (
    Rule("price", _price, lambda p: str(p.max_price_age_ms), "ms", "MAX_PRICE_AGE_SECONDS"),
    Rule("spread", _spread, lambda p: str(p.risk.max_spread), "fraction", "MAX_SPREAD_PERCENT"),
    Rule("funding", _funding, lambda p: str(p.risk.max_funding), "fraction", "MAX_FUNDING_PERCENT"),
    Rule(
        "volatility",
        _volatility,
        lambda p: str(p.risk.max_volatility),
        "fraction",
        "MAX_VOLATILITY_PERCENT",
    ),
    Rule("protection", _protection, lambda p: p.protection.summary, "", "DYNAMIC_TPSL_ENABLED"),
    Rule(
        "stop_outside_spread",
        _stop_outside_spread,
        lambda p: str(p.protection.stop_spreads),
        "spreads",
        "design",
    ),
    Rule(
        "target_clears_costs",
        _target_clears_costs,
        lambda p: str(p.round_trip_cost),
        "fraction",
        "TAKER_FEE_PERCENT",
    ),
)
"""Asked after the signal's own rules."""
