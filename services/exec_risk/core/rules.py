"""The rules that an entry must pass, in the one order in which they are asked.

Exits are never asked. Each rule has a name (reason code and metric label), its limit, and a check
that returns the sentence of its refusal. What is missing or stale refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.exec_risk.core import costs, protection
from services.exec_risk.core.entry import Entry
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.state import Book
from services.exec_risk.core.strategies import smart
from services.trade.order import OrderState
from services.trade.position import PositionSide, TradingState

APPROVED = "approved"


def _emergency_latch(entry: Entry) -> str | None:
    latch = entry.book.latch
    return None if latch is None else f"emergency stop by {latch.by}: {latch.reason}"


def _trading_enabled(entry: Entry) -> str | None:
    return None if entry.policy.trading_enabled else "TRADING_ENABLED is false"


def _trading_state(entry: Entry) -> str | None:
    state = entry.book.trading_state
    return None if state is TradingState.ACTIVE else f"trading state is {state}"


def _drain(entry: Entry) -> str | None:
    return "the service drains" if entry.book.gates.draining else None


def _maintenance(entry: Entry) -> str | None:
    return "the service is in maintenance" if entry.book.gates.maintenance else None


def _postgres(entry: Entry) -> str | None:
    return "PostgreSQL does not answer" if entry.book.gates.store_away else None


def _core_error(entry: Entry) -> str | None:
    found = entry.book.gates.core_error
    return f"an exception inside the core: {found}" if found else None


def _venue(entry: Entry) -> str | None:
    policy = entry.policy
    if entry.signal.venue != policy.venue:
        return f"signal is for venue {entry.signal.venue!r}, orders go to {policy.venue!r}"
    if not policy.venue_ready:
        return f"venue {policy.venue} is not set up for trading"
    return None if entry.book.connected else "the exchange's user stream is down"


def _stale(entry: Entry) -> str | None:
    signal = entry.signal
    if entry.now > signal.expires_at:
        return f"signal expired at {signal.expires_at}, now is {entry.now}"
    if signal.round_time > entry.now:
        return f"signal is of {signal.round_time}, after now, {entry.now}"
    return None


def _symbol(entry: Entry) -> str | None:
    symbol = entry.signal.symbol
    return None if symbol in entry.book.filters else f"no filters for {symbol}"


def _price(entry: Entry) -> str | None:
    found = entry.book.prices.get(entry.signal.symbol)
    if found is None or found[0] <= 0:
        return f"no price of {entry.signal.symbol}"
    age = entry.now - found[1]
    limit = entry.policy.max_price_age_ms
    return f"price is {age} ms old, limit {limit}" if age > limit else None


def _equity(entry: Entry) -> str | None:
    equity = entry.book.equity()
    if equity is None:
        return "equity is not known"
    return None if equity > 0 else f"equity is {equity}"


def _confidence(entry: Entry) -> str | None:
    confidence, floor = entry.signal.confidence, entry.policy.min_confidence
    if not 0 <= confidence <= 1:
        return f"confidence {confidence} is not between 0 and 1"
    if floor is not None and confidence < floor:
        return f"confidence {confidence:.4f} is below {floor}"
    return None


def _position(entry: Entry) -> str | None:
    held = entry.book.positions.get(entry.signal.symbol)
    return f"{held.side} position of {held.quantity} is open" if held else None


def _pending(entry: Entry) -> str | None:
    if entry.signal.symbol in entry.book.drift:
        return f"position of {entry.signal.symbol} differs from the exchange's"
    for order in entry.book.live_orders(entry.signal.symbol):
        word = "of unknown outcome" if order.state is OrderState.UNKNOWN else "on its way"
        return f"order {order.client_order_id} is {word}"
    for execution in entry.book.executing.entering(entry.signal.symbol):
        return f"execution {execution.execution_id} is at work"
    return None


def _cooldown(entry: Entry) -> str | None:
    closed = entry.book.last_closed.get(entry.signal.symbol)
    if closed is None or entry.now - closed >= entry.policy.cooldown_ms:
        return None
    return f"closed {entry.now - closed} ms ago, cooldown is {entry.policy.cooldown_ms}"


def _open_positions(entry: Entry) -> str | None:
    used, limit = entry.book.slots_used(), entry.policy.max_positions
    return f"{used} of {limit} positions are open or on their way" if used >= limit else None


def _leverage(entry: Entry) -> str | None:
    cap = entry.policy.leverage_cap(entry.filters)
    if 1 <= entry.leverage <= cap:
        return None
    return f"leverage {entry.leverage} is not between 1 and {cap}"


def _daily_drawdown(entry: Entry) -> str | None:
    start = entry.book.day(entry.now).start_equity
    if start is None or start <= 0:
        return None
    loss = (start - entry.equity) / start
    limit = entry.policy.max_daily_drawdown
    return f"day's loss {loss:.4f} reaches {limit}" if loss >= limit else None


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


def _notional(entry: Entry) -> str | None:
    notional, limit = entry.sized().notional, entry.policy.max_position_usd
    return f"notional {notional} is above {limit}" if notional > limit else None


def _exposure(entry: Entry) -> str | None:
    total = entry.exposure + max(entry.sized().notional, entry.filters.min_notional)
    limit = entry.policy.max_exposure_usd
    return f"gross exposure would be {total}, limit {limit}" if total > limit else None


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


def _none(_: Policy) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name, its check, and where its limit comes from."""

    name: str
    check: Callable[[Entry], str | None]
    limit: Callable[[Policy], str] = _none
    unit: str = ""
    source: str = ""


RULES: tuple[Rule, ...] = (
    Rule("emergency_latch", _emergency_latch, unit="switch", source="EmergencyStop"),
    Rule(
        "trading_enabled",
        _trading_enabled,
        lambda p: str(p.trading_enabled).lower(),
        "switch",
        "TRADING_ENABLED",
    ),
    Rule("trading_state", _trading_state, unit="switch", source="SetTradingState"),
    Rule("drain", _drain, unit="switch", source="Drain"),
    Rule("maintenance", _maintenance, unit="switch", source="SetMaintenance"),
    Rule("postgres", _postgres, unit="switch", source="PostgreSQL"),
    Rule("core_error", _core_error, unit="switch", source="SetTradingState"),
    Rule("venue", _venue, lambda p: p.venue, "name", "EXCHANGE_VENUE"),
    Rule("stale_signal", _stale, unit="ms", source="Signal.expires_at"),
    Rule("unknown_symbol", _symbol, unit="name", source="exchangeInfo"),
    Rule("price", _price, lambda p: str(p.max_price_age_ms), "ms", "MAX_PRICE_AGE_SECONDS"),
    Rule("equity", _equity, lambda _: "0", "USD", "exchange"),
    Rule(
        "confidence",
        _confidence,
        lambda p: "" if p.min_confidence is None else str(p.min_confidence),
        "fraction",
        "EXEC_MIN_CONFIDENCE",
    ),
    Rule("position_exists", _position, lambda _: "1", "positions per symbol", "design"),
    Rule("order_pending", _pending, lambda _: "0", "orders per symbol", "design"),
    Rule("cooldown", _cooldown, lambda p: str(p.cooldown_ms), "ms", "ENTRY_COOLDOWN_SECONDS"),
    Rule(
        "open_positions",
        _open_positions,
        lambda p: str(p.max_positions),
        "positions",
        "MAX_POSITIONS",
    ),
    Rule("leverage", _leverage, lambda p: str(p.leverage_cap(None)), "times", "MAX_LEVERAGE"),
    Rule(
        "daily_drawdown",
        _daily_drawdown,
        lambda p: str(p.max_daily_drawdown),
        "fraction",
        "MAX_DAILY_DRAWDOWN_PERCENT",
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
    Rule("notional", _notional, lambda p: str(p.max_position_usd), "USD", "MAX_POSITION_SIZE_USD"),
    Rule(
        "gross_exposure",
        _exposure,
        lambda p: str(p.max_exposure_usd),
        "USD",
        "MAX_PORTFOLIO_EXPOSURE_USD",
    ),
    Rule("margin", _margin, lambda p: str(p.margin_share), "fraction of equity", "exchange"),
    Rule("filters", _filters, unit="", source="exchangeInfo"),
    Rule(
        "slippage",
        _slippage,
        lambda p: str(p.execution.max_slippage),
        "fraction of the price",
        "MAX_SLIPPAGE_PERCENT",
    ),
)
"""All rules in the order in which they are asked."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules said; `rule` is the one that decided."""

    approved: bool
    rule: str
    reason: str


def judge(entry: Entry) -> Verdict:
    """Ask the rules in order; the first refusal decides."""
    for rule in RULES:
        refusal = rule.check(entry)
        if refusal is not None:
            return Verdict(False, rule.name, refusal)
    found = entry.sized()
    return Verdict(
        True,
        APPROVED,
        f"{found.quantity} for {found.notional} USD at {entry.leverage} times leverage",
    )


def blocked_by(book: Book) -> str:
    """Return the name of the gate that stops all entries now; '' when none does."""
    policy, gates = book.policy, book.gates
    if book.latch is not None:
        return "emergency_latch"
    if not policy.trading_enabled:
        return "trading_enabled"
    if book.trading_state is not TradingState.ACTIVE:
        return "trading_state"
    if gates.draining:
        return "drain"
    if gates.maintenance:
        return "maintenance"
    if gates.store_away:
        return "postgres"
    if gates.core_error:
        return "core_error"
    if not policy.venue_ready or not book.connected:
        return "venue"
    return "equity" if book.wallet is None else ""
