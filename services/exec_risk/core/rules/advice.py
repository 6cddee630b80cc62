"""Rules about the signal and what its symbol already has."""

from __future__ import annotations

from services.exec_risk.core.orders.order_kinds import is_protection
from services.exec_risk.core.risk.entry import Entry
from services.exec_risk.core.rules.rule import Rule
from services.trade.order import OrderState


def _venue(entry: Entry) -> str | None:
    signal, venue = entry.signal, entry.policy.venue
    if signal.venue != venue:
        return f"signal is for venue {signal.venue!r}, orders go to {venue!r}"
    return None


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


def _confidence(entry: Entry) -> str | None:
    confidence, floor = entry.signal.confidence, entry.policy.min_confidence
    if not 0 <= confidence <= 1:
        return f"confidence {confidence} is not between 0 and 1"
    if floor is not None and confidence < floor:
        return f"confidence {confidence:.4f} is below {floor}"
    return None


def _position(entry: Entry) -> str | None:
    held = entry.book.positions.get(entry.signal.symbol)
    if held is not None and held.position_id == entry.adds_to:
        return None
    return f"{held.side} position of {held.quantity} is open" if held else None


def _pending(entry: Entry) -> str | None:
    if entry.signal.symbol in entry.book.drift:
        return f"position of {entry.signal.symbol} differs from the exchange's"
    for order in entry.book.live_orders(entry.signal.symbol):
        if entry.adds_to and entry.adds_to == order.position_id and is_protection(order):
            continue
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


def _symbol_losses(entry: Entry) -> str | None:
    limit = entry.policy.risk.max_symbol_losses
    losses = entry.book.results.symbol_losses(entry.signal.symbol, entry.now)
    if losses < limit:
        return None
    return f"{losses} losses in a row today, limit {limit}: rests until the UTC day ends"


ADVICE: tuple[Rule, ...] = (
    Rule("venue", _venue, lambda p: p.venue, "name", "EXCHANGE_VENUE"),
    Rule("stale_signal", _stale, unit="ms", source="Signal.expires_at"),
    Rule("unknown_symbol", _symbol, unit="name", source="exchangeInfo"),
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
        "symbol_losses",
        _symbol_losses,
        lambda p: str(p.risk.max_symbol_losses),
        "losses in a row a UTC day",
        "MAX_SYMBOL_LOSSES",
    ),
)
"""Asked after the gates."""
