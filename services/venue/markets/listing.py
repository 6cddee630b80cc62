"""The rules of a symbol when nothing better is known: brackets, sizes, least notional."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from services.trade.filters import SymbolFilters
from services.venue.core.chance import fraction
from services.venue.core.rules import Bracket, SymbolRules

_MIN_NOTIONAL = {"BTCUSDT": Decimal(100), "ETHUSDT": Decimal(20)}
_OTHER_MIN_NOTIONAL = Decimal(5)
_SCALE = {"BTCUSDT": 30, "ETHUSDT": 20}
"""How much larger the default brackets of the deepest symbols are."""
# leverage, cap of the bracket's notional, maintenance margin ratio
_DEFAULT_BRACKETS = (
    (75, "10000", "0.005"),
    (50, "50000", "0.01"),
    (40, "200000", "0.015"),
    (25, "1000000", "0.02"),
    (20, "2000000", "0.025"),
    (10, "10000000", "0.05"),
    (5, "20000000", "0.1"),
    (4, "25000000", "0.125"),
    (2, "50000000", "0.25"),
    (1, "100000000", "0.5"),
)
_BASE_FUNDING = Decimal("0.0001")


def symbol_rules(
    symbol: str, *, tick: Decimal, step: Decimal, brackets: tuple[Bracket, ...] | None = None
) -> SymbolRules:
    """Return a symbol's rules by its tick and quantity step."""
    chosen = brackets or default_brackets(symbol)
    filters = SymbolFilters(
        symbol=symbol,
        tick_size=tick,
        step_size=step,
        min_quantity=step,
        max_quantity=step * 10_000_000,
        market_max_quantity=step * 1_000_000,
        min_notional=_MIN_NOTIONAL.get(symbol, _OTHER_MIN_NOTIONAL),
        max_leverage=chosen[0].initial_leverage,
    )
    return SymbolRules(filters, chosen)


def default_brackets(symbol: str) -> tuple[Bracket, ...]:
    """Return a plausible bracket table; the cumulative amounts make the margin continuous."""
    scale = _SCALE.get(symbol, 1)
    floor, cumulative, last_ratio = Decimal(0), Decimal(0), Decimal(0)
    made = []
    for number, (leverage, cap, ratio) in enumerate(_DEFAULT_BRACKETS, start=1):
        top, part = Decimal(cap) * scale, Decimal(ratio)
        cumulative += floor * (part - last_ratio)
        made.append(Bracket(number, leverage, floor, top, part, cumulative))
        floor, last_ratio = top, part
    return tuple(made)


def read_brackets(path: Path) -> dict[str, tuple[Bracket, ...]]:
    """Read brackets in the exchange's own JSON shape."""
    entries = json.loads(path.read_text(), parse_float=Decimal)
    return {entry["symbol"]: tuple(map(_bracket, entry["brackets"])) for entry in entries}


def read_grid(path: Path) -> dict[str, tuple[Decimal, Decimal]]:
    """Read observed price and quantity steps by symbol."""
    entries: Mapping[str, Mapping[str, Decimal]] = json.loads(path.read_text(), parse_float=Decimal)
    return {symbol: (e["tick_obs"], e["qty_obs"]) for symbol, e in entries.items()}


def plausible_funding(seed: int, symbol: str, time: int) -> Decimal:
    """Return a small funding rate that belongs to (symbol, time), around Binance's base rate."""
    tilt = fraction("funding", seed, symbol, time) - Decimal("0.4")
    return (_BASE_FUNDING * (1 + 2 * tilt)).quantize(Decimal("0.00000001"))


def _bracket(entry: Mapping[str, Any]) -> Bracket:
    return Bracket(
        number=int(entry["bracket"]),
        initial_leverage=int(entry["initialLeverage"]),
        floor=Decimal(entry["notionalFloor"]),
        cap=Decimal(entry["notionalCap"]),
        maintenance_ratio=Decimal(entry["maintMarginRatio"]),
        cumulative=Decimal(entry["cum"]),
    )
