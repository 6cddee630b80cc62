"""Metrics of the ai service, under the names of the operations guide."""

from __future__ import annotations

from services.ai.core.ensemble import HoldReason
from services.ai.core.gaps import Outcome
from services.catalog.events import (
    MODEL_WEIGHT_CHANGED,
    PREDICTION,
    REGIME_CHANGED,
    SIGNAL_GENERATED,
    UNIVERSE_OPPORTUNITY,
)
from services.kit.observe.metrics import Metrics

ERROR_KINDS = (
    "bad_candle",
    "conflicting_candle",
    "future_candle",
    "answer_failed",
    "bad_prediction",
    "bad_position",
    "late_run",
)
CONFIDENCES = (0.1, 0.2, 0.3, 0.34, 0.36, 0.38, 0.4, 0.42, 0.44, 0.46, 0.5, 0.6, 0.8, 1.0)
"""Closest where honest answers lie: a third is no opinion at all."""
_PUBLISHED = (
    PREDICTION,
    SIGNAL_GENERATED,
    MODEL_WEIGHT_CHANGED,
    UNIVERSE_OPPORTUNITY,
    REGIME_CHANGED,
)


class Measures:
    """What the service counts. Every label exists from the start, so that rates see its zero."""

    def __init__(self, metrics: Metrics) -> None:
        self.signals = metrics.counter(
            "signals_generated_total", "Signals published, by action.", ["action"]
        )
        self.predictions = metrics.counter(
            "predictions_made_total", "Candles answered, by hold reason ('' is a signal).", ["hold"]
        )
        self.errors = metrics.counter("errors_total", "What went wrong, by kind.", ["kind"])
        self.published = metrics.counter(
            "events_published_total", "Messages published, by type.", ["event_type"]
        )
        self.latency = metrics.histogram(
            "signal_latency_seconds", "From receiving a candle to its answer being stored."
        )
        self.run_seconds = metrics.histogram(
            "model_run_seconds", "One run of all models on a batch, from asking to having."
        )
        self.weight_changes = metrics.counter(
            "model_weight_changes_total",
            "Models excluded or taken back, by reason.",
            ["model", "reason"],
        )
        self.drift = metrics.gauge(
            "model_drift",
            "Excess of a model's stability index over the middle one; excluded above 0.25.",
            ["model"],
        )
        self.confidence = metrics.spread(
            "prediction_confidence",
            "Confidence of the ensemble's answers, HOLD included.",
            CONFIDENCES,
        )
        self.candles = metrics.counter("candles_received_total", "Candles followed.")
        self.gaps = metrics.counter(
            "candle_gaps_total", "What became of gaps in windows, by outcome.", ["outcome"]
        )
        self.open_gaps = metrics.gauge("candle_gaps_open", "Series whose window lacks candles.")
        for outcome in Outcome:
            self.gaps.labels(outcome.value)
        for action in ("BUY", "SELL"):
            self.signals.labels(action)
        for reason in HoldReason:
            self.predictions.labels(reason.value)
        for kind in ERROR_KINDS:
            self.errors.labels(kind)
        for event_type in _PUBLISHED:
            self.published.labels(event_type)
