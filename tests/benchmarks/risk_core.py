"""The core of exec_risk alone: candles judged, entries decided, positions protected and closed."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

from services.exec_risk.core.facts import RiskDecided
from services.exec_risk.core.policy import Policy
from services.trade.order import OrderPurpose, Side
from tests.benchmarks.rows import Row
from tests.unit.exec_risk.account_desk import MINUTE, PRICE, Desk, signal_of

SYMBOLS = tuple(f"SYM{number}USDT" for number in range(20))
ROUNDS = 300
NAUTILUS_BARS_A_SECOND = 22_000
"""nautilus_trader 1.221 with orders, as measured for the design (section 8)."""


async def measure(home: Path) -> list[Row]:
    """Return candles and decisions a second; every twentieth candle brings a signal."""
    del home
    desk = Desk(Policy(cooldown_ms=0, max_positions=len(SYMBOLS)), SYMBOLS)
    began = time.perf_counter()
    for number in range(ROUNDS):
        _one_round(desk, number)
    seconds = time.perf_counter() - began
    candles, decisions = ROUNDS * len(SYMBOLS), len(desk.of(RiskDecided))
    rate = candles / seconds
    return [
        Row(
            path="core of exec_risk: candles through rounds, signals, orders, fills",
            measured=f"{rate:,.0f} candles/s, {decisions / seconds:,.0f} decisions/s",
            floor=f"nautilus_trader with orders {NAUTILUS_BARS_A_SECOND:,}/s (published)",
            ratio=rate / NAUTILUS_BARS_A_SECOND,
            aim=1.0,
            higher_is_better=True,
            numbers={"candles": candles, "decisions": decisions, "seconds": seconds},
        )
    ]


def _one_round(desk: Desk, number: int) -> None:
    """A signal every round: it enters, or closes what an earlier one in the other way opened."""
    desk.time += MINUTE
    symbol = SYMBOLS[number % len(SYMBOLS)]
    side = Side.BUY if (number // len(SYMBOLS)) % 2 == 0 else Side.SELL
    before = len(desk.placed())
    close = PRICE + Decimal(number % 7) / 100
    desk.round(signal_of(symbol, side, desk.time), close=close)
    for order in desk.placed()[before:]:
        desk.accept(order)
        if order.purpose in (OrderPurpose.ENTRY, OrderPurpose.EXIT):
            desk.fill(order, price=close)
    for order in desk.placed()[before + 1 :]:
        if not desk.book.orders[order.client_order_id].state.final:
            desk.accept(order)
