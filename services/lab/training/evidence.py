"""Out-of-sample evidence: scores, trades after costs, calibration, and the gate's quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.ai.core.promotion_gate import Gain, gains
from services.lab.training import scores
from services.lab.training.baselines import BASELINES, baselines
from services.lab.training.data import Rows
from services.lab.training.members import Member, at_temperature, mean_of, predict_graph
from services.lab.training.plan import TrainingPlan
from services.lab.training.trades import Funding, Trades, trade
from services.lab.training.walk_forward import ENSEMBLE, Measured
from services.trade.times import timeframe_ms

HELD_OUT_SPANS = 5
"""Equal spans of time that held-out rows are cut into: what a market does lasts for days."""
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
    gains: dict[str, Gain]
    """By baseline: log-loss that the ensemble gains over it, spans of time taken as they come."""


SHARES = (0.5, 0.2, 0.1, 0.05, 0.025, 0.02, 0.01, 0.005, 0.001)
"""Shares of candles whose confidence quantile is kept."""


def evidence_of(
    measured: Measured, plan: TrainingPlan, timeframe: str, funding: Funding
) -> Evidence:
    """Judge a walk forward."""
    temperature = {name: _temperature(measured, name) for name in plan.members.models}
    calibrated = _calibrated(measured, temperature, plan.members.weights)
    return _judge(calibrated, temperature, plan, timeframe, funding, calibrated.fold)


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

    Rows are cut in two equal spans of time, so that the second is traded with the first's gate,
    and in more for the interval of what is gained.
    """
    found = {name: predict(rows.features) for name, predict in baselines(past).items()}
    members = {one.name: predict_graph(one.model, rows.inputs) for one in fitted}
    found |= members | {ENSEMBLE: mean_of(list(members.values()), plan.members.weights)}
    half = (rows.times >= (rows.times.min() + rows.times.max()) // 2).astype(np.int64)
    measured = _calibrated(Measured(rows, half, found), known.temperature, plan.members.weights)
    spans = spans_of(rows.times, HELD_OUT_SPANS)
    return _judge(measured, known.temperature, plan, timeframe, funding, spans)


def _judge(
    measured: Measured,
    temperature: dict[str, float],
    plan: TrainingPlan,
    timeframe: str,
    funding: Funding,
    spans: npt.NDArray[np.int64],
) -> Evidence:
    said = scores.confidence(measured.predictions[ENSEMBLE])
    holding = plan.label.horizon * timeframe_ms(timeframe)
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
        gains=_gains(measured, spans),
    )


def spans_of(times: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Return for each time the number of the equal span of time that it lies in."""
    edges = np.linspace(times.min(), times.max() + 1, count + 1)
    return np.searchsorted(edges[1:-1], times, side="right").astype(np.int64)


def _gains(measured: Measured, spans: npt.NDArray[np.int64]) -> dict[str, Gain]:
    chosen = [spans == span for span in np.unique(spans)]
    labels = measured.rows.labels
    losses = {
        name: [scores.log_loss(measured.predictions[name][rows], labels[rows]) for rows in chosen]
        for name in (*BASELINES, ENSEMBLE)
    }
    return gains(losses)


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
