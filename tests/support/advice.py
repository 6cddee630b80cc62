"""What a stand-in of ai advises: a function of the candle's name, the same each time."""

from __future__ import annotations

from typing import Any

from quantum.ai.v1 import signal_pb2

from services.trade import ids
from services.trade.candle import Candle
from services.trade.codec import time_to_pb


def batch_of(candle: Candle) -> signal_pb2.PredictionBatch:
    """Advise by the candle's name: a quarter BUY, a quarter SELL, else HOLD."""
    drawn = int(ids.digest("advice", candle.key, length=4), 16) % 4
    actions = {0: signal_pb2.ACTION_BUY, 1: signal_pb2.ACTION_SELL}
    return batch_with(candle, actions.get(drawn, signal_pb2.ACTION_HOLD))


def batch_with(candle: Candle, action: signal_pb2.Action.ValueType) -> signal_pb2.PredictionBatch:
    """Advise this."""
    signal_id = ids.signal_id(candle.venue, candle.symbol, candle.timeframe, candle.open_time)
    times: dict[str, Any] = {
        "candle_open_time": time_to_pb(candle.open_time),
        "candle_close_time": time_to_pb(candle.close_time),
    }
    batch = signal_pb2.PredictionBatch(venue=candle.venue, model_version="adviser")
    held = action == signal_pb2.ACTION_HOLD
    batch.predictions.add(
        symbol=candle.symbol,
        timeframe=candle.timeframe,
        action=action,
        confidence=0.8,
        signal_id="" if held else signal_id,
        **times,
    )
    if not held:
        batch.signals.add(
            signal_id=signal_id,
            venue=candle.venue,
            symbol=candle.symbol,
            action=action,
            confidence=0.8,
            timeframe=candle.timeframe,
            expires_at=time_to_pb(candle.close_time + 300_000),
            price=str(candle.close),
            atr_fraction=0.001,
            model_version="adviser",
            **times,
        )
    return batch
