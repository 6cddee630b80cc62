"""What ai, operators and people do: made from the seed alone, never from what came of it."""

from __future__ import annotations

import random
from decimal import Decimal

from services.exec_risk.core.inputs import (
    ClosePosition,
    Command,
    EmergencyStop,
    Prediction,
    PredictionsArrived,
    ReconcileNow,
    ResetEmergency,
    SetTradingState,
    Signal,
    SubmitExecution,
    ValidateEntry,
)
from services.lab.simulation.market import VENUE
from services.trade import ids
from services.trade.candle import Candle
from services.trade.execution import ExecutionStrategy
from services.trade.order import Side
from services.trade.position import TradingState

_EXPIRY = (0, 60_000, 300_000, 900_000, -60_000)
_ATR = (Decimal("0.0005"), Decimal("0.002"), Decimal("0.004"), Decimal("0.01"), Decimal("0.9"))


class Script:
    """Answers to candles, and commands."""

    def __init__(self, seed: int, symbols: tuple[str, ...]) -> None:
        self._seed = seed
        self._symbols = symbols
        self._number = 0
        self.signals: dict[str, Signal] = {}
        """Every signal that was ever made, by id."""

    def answer(self, candle: Candle) -> PredictionsArrived:
        """Return the answer to one candle: the same however often it is asked for."""
        dice = random.Random(f"{self._seed}.{candle.key}")  # noqa: S311 - seeded on purpose
        made = [self._prediction(dice, candle, candle.symbol)]
        if dice.random() < 0.05:
            made.append(self._prediction(dice, candle, "NOSUCHUSDT"))
        return PredictionsArrived(tuple(made))

    def _prediction(self, dice: random.Random, candle: Candle, symbol: str) -> Prediction:
        time = candle.close_time
        side = dice.choice((Side.BUY, Side.SELL, Side.BUY, Side.SELL, None))
        if side is None:
            return Prediction(symbol, candle.timeframe, time)
        signal_id = ids.signal_id(VENUE, symbol, candle.timeframe, candle.open_time)
        signal = Signal(
            signal_id=signal_id,
            venue=VENUE if dice.random() < 0.98 else "demo",
            symbol=symbol,
            timeframe=candle.timeframe,
            side=side,
            confidence=round(dice.uniform(0.4, 1.0), 4),
            price=candle.close,
            atr_fraction=dice.choices(_ATR, (3, 4, 4, 2, 0.2))[0],
            round_time=time,
            expires_at=time + dice.choices(_EXPIRY, (2, 4, 4, 1, 0.4))[0],
            trace_id=ids.trace_id(candle.key),
        )
        self.signals[signal_id] = signal
        return Prediction(symbol, candle.timeframe, time, signal)

    def command(self, dice: random.Random) -> Command:
        """Return an operator's next request."""
        self._number += 1
        request, symbol = f"ask-{self._number}", dice.choice(self._symbols)
        kind = dice.random()
        if kind < 0.2:
            return EmergencyStop(request, "simulated", "simulation")
        if kind < 0.35:
            return SubmitExecution(
                request,
                symbol,
                dice.choice((Side.BUY, Side.SELL)),
                dice.choice(tuple(ExecutionStrategy)),
                notional_usd=Decimal(dice.choice((300, 1500))),
                duration_ms=900_000,
            )
        if kind < 0.42:
            return ReconcileNow(request, apply=dice.random() < 0.5)
        if kind < 0.58:
            return ClosePosition(request, symbol)
        if kind < 0.8:
            state = dice.choice((TradingState.HALTED, TradingState.REDUCING, TradingState.ACTIVE))
            return SetTradingState(request, state, "simulated", "simulation")
        return ValidateEntry(request, symbol, Side.BUY, Decimal(500), 5)

    def resume(self) -> tuple[ResetEmergency, SetTradingState]:
        """Return the requests that let trading go on."""
        self._number += 2
        return (
            ResetEmergency(f"ask-{self._number - 1}", "simulated", "simulation"),
            SetTradingState(f"ask-{self._number}", TradingState.ACTIVE, "simulated", "simulation"),
        )
