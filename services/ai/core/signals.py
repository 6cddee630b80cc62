"""Signals: predictions that passed the gate, with an id that names their candle."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.ai.core.ensemble import Action, Prediction, Vote
from services.ai.core.manifest import Manifest
from services.trade.candle import Candle
from services.trade.ids import signal_id

MODEL_SOURCE = "ensemble"


@dataclass(frozen=True, slots=True)
class Signal:
    """Advice to enter a position. Times are market time in milliseconds."""

    signal_id: str
    candle: Candle
    action: Action
    """BUY or SELL."""
    confidence: float
    score: float
    expires_at: int
    """Market time after which it must not be acted on."""
    atr_fraction: float
    model_version: str
    agreement: float
    votes: tuple[Vote, ...]
    in_sample: bool
    """True when training has seen this stretch of time, so that a result proves nothing."""

    @property
    def price(self) -> Decimal:
        """Close of the candle."""
        return self.candle.close


def id_of(candle: Candle) -> str:
    """Return the id of the one signal that a candle can make, whatever model makes it."""
    return signal_id(candle.venue, candle.symbol, candle.timeframe, candle.open_time)


def expiry_of(candle: Candle, ttl_ms: int) -> int:
    """Return the market time at which a signal of this candle expires."""
    return candle.close_time + ttl_ms


def make_signal(prediction: Prediction, manifest: Manifest, ttl_ms: int) -> Signal | None:
    """Return the signal of a prediction; None on HOLD."""
    if prediction.action is Action.HOLD:
        return None
    candle = prediction.candle
    return Signal(
        signal_id=id_of(candle),
        candle=candle,
        action=prediction.action,
        confidence=prediction.confidence,
        score=prediction.score,
        expires_at=expiry_of(candle, ttl_ms),
        atr_fraction=prediction.atr_fraction,
        model_version=manifest.version,
        agreement=prediction.agreement,
        votes=prediction.votes,
        in_sample=manifest.in_sample(candle.open_time, candle.close_time),
    )
