"""Predictions and signals of the core as messages of the contract."""

from __future__ import annotations

from collections.abc import Sequence

from quantum.ai.v1 import ai_service_pb2, signal_pb2

from services.ai.core.ensemble import Action, Vote
from services.ai.core.manifest import Manifest
from services.ai.core.signals import MODEL_SOURCE, Signal
from services.ai.core.watch import Change
from services.trade.codec import decimal_to_pb, time_to_pb

ACTIONS = {
    Action.BUY: signal_pb2.ACTION_BUY,
    Action.SELL: signal_pb2.ACTION_SELL,
    Action.HOLD: signal_pb2.ACTION_HOLD,
}


def signal_to_pb(signal: Signal) -> signal_pb2.Signal:
    """Write a signal."""
    candle = signal.candle
    return signal_pb2.Signal(
        signal_id=signal.signal_id,
        venue=candle.venue,
        symbol=candle.symbol,
        action=ACTIONS[signal.action],
        confidence=signal.confidence,
        score=signal.score,
        model_source=MODEL_SOURCE,
        timeframe=candle.timeframe,
        candle_open_time=time_to_pb(candle.open_time),
        candle_close_time=time_to_pb(candle.close_time),
        expires_at=time_to_pb(signal.expires_at),
        price=decimal_to_pb(signal.price),
        atr_fraction=signal.atr_fraction,
        model_version=signal.model_version,
        ensemble_agreement=signal.agreement,
        votes=[_vote_to_pb(vote) for vote in signal.votes],
        in_sample=signal.in_sample,
    )


def models_to_pb(manifest: Manifest, weights: Sequence[float]) -> list[ai_service_pb2.Model]:
    """Write the members of an artifact with their effective weights."""
    return [
        ai_service_pb2.Model(
            name=name,
            version=manifest.version,
            sha256=manifest.sha256,
            weight=weight,
            trained_from=time_to_pb(manifest.trained_from),
            trained_to=time_to_pb(manifest.trained_to),
            metrics=manifest.metrics.get(name, {}),
        )
        for name, weight in zip(manifest.models, weights, strict=True)
    ]


def change_to_pb(change: Change, version: str) -> signal_pb2.ModelWeightChanged:
    """Write a change of a model's weight."""
    return signal_pb2.ModelWeightChanged(
        model=change.model,
        model_version=version,
        weight=change.weight,
        reason=change.reason,
        effective_from=time_to_pb(change.effective_from),
    )


def _vote_to_pb(vote: Vote) -> signal_pb2.ModelVote:
    return signal_pb2.ModelVote(
        model=vote.model,
        p_down=vote.p_down,
        p_flat=vote.p_flat,
        p_up=vote.p_up,
        weight=vote.weight,
    )
