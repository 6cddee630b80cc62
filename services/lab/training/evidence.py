"""Out-of-sample evidence: scores, trades after costs, calibration, and the gate's quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.lab.training import scores
from services.lab.training.baselines import BASELINES, baselines
from services.lab.training.data import Rows
from services.lab.training.members import Member, at_temperature, mean_of, predict_graph
from services.lab.training.plan import TrainingPlan
from services.lab.training.trades import Funding, Trades, trade
from services.lab.training.walk_forward import ENSEMBLE, Measured
from services.trade.times import timeframe_ms

HIGH_VOLATILITY_SHARE = 0.1
"""The wildest share of rows counts as high volatility."""
_RELIABLE = 1e-4
"""A temperature is kept only when it gains so much log-loss on later rows than it was chosen on."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the models did on rows that they were not trained on."""

    measured: Measured
    trades: dict[str, Trades]
    """By predictor; bought and sold as the gate would have it."""
    temperature: dict[str, float]
    """By model; 1 leaves its margins alone."""
    quantiles: dict[float, float]
    """Share of rows to the confidence that this share reached."""
    high_volatility_atr: float
    """ATR, as a fraction of price, that the wildest tenth of rows reached."""
    beats: dict[str, bool]
    """By baseline: whether the ensemble's log-loss is below it."""


SHARES = (0.5, 0.2, 0.1, 0.05, 0.025, 0.02, 0.01, 0.005, 0.001)
"""Shares of candles whose confidence quantile is kept."""


def evidence_of(
    measured: Measured, plan: TrainingPlan, timeframe: str, funding: Funding
) -> Evidence:
    """Judge a walk forward."""
    temperature = {name: _temperature(measured, name) for name in plan.members.models}
    calibrated = _calibrated(measured, temperature, plan.members.weights)
    return _judge(calibrated, temperature, plan, timeframe, funding)


def held_out_evidence(
    past: Rows,
    rows: Rows,
    fitted: Sequence[Member],
    plan: TrainingPlan,
    known: Evidence,
    funding: Funding,
    timeframe: str,
) -> Evidence:
    """Judge the final models on candles that training never saw.

    Rows are cut in two equal spans of time, so that the second is traded with the first's gate.
    """
    found = {name: predict(rows.features) for name, predict in baselines(past).items()}
    members = {one.name: predict_graph(one.model, rows.inputs) for one in fitted}
    found |= members | {ENSEMBLE: mean_of(list(members.values()), plan.members.weights)}
    half = (rows.times >= (rows.times.min() + rows.times.max()) // 2).astype(np.int64)
    measured = _calibrated(Measured(rows, half, found), known.temperature, plan.members.weights)
    return _judge(measured, known.temperature, plan, timeframe, funding)


def _judge(
    measured: Measured,
    temperature: dict[str, float],
    plan: TrainingPlan,
    timeframe: str,
    funding: Funding,
) -> Evidence:
    said = scores.confidence(measured.predictions[ENSEMBLE])
    holding = plan.label.horizon * timeframe_ms(timeframe)
    losses = {n: scores.log_loss(p, measured.rows.labels) for n, p in measured.predictions.items()}
    atr = measured.rows.atr_fraction
    return Evidence(
        measured=measured,
        trades={
            name: trade(measured, name, plan.share, holding, plan.label.cost, funding)
            for name in measured.predictions
        },
        temperature=temperature,
        quantiles={share: float(np.quantile(said, 1.0 - share)) for share in SHARES},
        high_volatility_atr=float(np.quantile(atr, 1.0 - HIGH_VOLATILITY_SHARE)),
        beats={name: losses[ENSEMBLE] < losses[name] for name in BASELINES},
    )


def _temperature(measured: Measured, name: str) -> float:
    """Fit on all folds but the last, and keep it only if it helps on the last."""
    last = measured.fold == measured.fold.max()
    if last.all():
        return 1.0
    labels, predictions = measured.rows.labels, measured.predictions[name]
    chosen = scores.best_temperature(predictions[~last], labels[~last])
    before = scores.log_loss(predictions[last], labels[last])
    after = scores.log_loss(at_temperature(predictions[last], chosen), labels[last])
    return chosen if after < before - _RELIABLE else 1.0


def _calibrated(
    measured: Measured, temperature: dict[str, float], weights: Sequence[float]
) -> Measured:
    members = {n: at_temperature(measured.predictions[n], t) for n, t in temperature.items()}
    whole = {ENSEMBLE: mean_of(list(members.values()), weights)}
    return Measured(measured.rows, measured.fold, measured.predictions | members | whole)
