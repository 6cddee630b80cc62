"""The manifest of an artifact: what it is, how it was made, and what it is worth."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version as library_version
from typing import Any

import numpy as np

from services.ai.core.drift import edges_of
from services.ai.core.manifest import CLASSES, COLUMNS
from services.lab.training import artifact, scores
from services.lab.training.data import Rows, Series
from services.lab.training.evidence import Evidence
from services.lab.training.features import FEATURES, WINDOW
from services.lab.training.members import NETWORKS, TOLERANCE, MemberPlan
from services.lab.training.plan import TrainingPlan
from services.lab.training.usual_drift import usual_drift
from services.lab.training.walk_forward import ENSEMBLE
from services.trade.ids import digest
from services.trade.times import timeframe_ms

_PERCENTILES = 101
LIBRARIES = ("lightgbm", "xgboost-cpu", "onnx", "onnxruntime", "onnxscript", "numpy")


def libraries_of(members: MemberPlan) -> dict[str, str]:
    """Return the versions of what fits the models and writes the graph."""
    names = [*LIBRARIES, *(["torch"] if set(NETWORKS) & set(members.models) else [])]
    return {name: library_version(name) for name in names} | {"python": platform.python_version()}


def write_manifest(
    plan: TrainingPlan,
    series: Sequence[Series],
    rows: Rows,
    evidence: Evidence,
    unseen: Evidence | None,
    timeframe: str,
    command: str,
) -> dict[str, Any]:
    """Return the manifest but for the hashes and sizes of the files."""
    members = plan.members
    start = int(min(s.times[0] for s in series))
    end = int(max(s.times[-1] for s in series)) + timeframe_ms(timeframe)
    symbols = sorted({s.symbol for s in series})
    inputs = json.dumps([asdict(plan), FEATURES, symbols, start, end], sort_keys=True)
    kind = "four" if set(NETWORKS) <= set(members.models) else "trees"
    balance = np.bincount(rows.labels, minlength=3) / rows.labels.size
    return {
        "version": f"{kind}-{timeframe}-h{plan.label.horizon}-{digest(inputs, length=8)}",
        "sha256": "",
        "golden_sha256": "",
        "golden_tolerance": TOLERANCE,
        "bytes": 0,
        "inputs": {"window": ["N", WINDOW, len(COLUMNS)], "type": "float32"},
        "outputs": list(artifact.OUTPUTS),
        "columns": list(COLUMNS),
        "classes": list(CLASSES),
        "window": WINDOW,
        "timeframe": timeframe,
        "models": list(members.models),
        "weights": list(members.weights),
        "temperature": [evidence.temperature[name] for name in members.models],
        "feature_names": list(FEATURES),
        "label": asdict(plan.label) | {"kind": "triple barrier"},
        "training": {
            "symbols": symbols,
            "from_ms": start,
            "to_ms": end,
            "rows": int(rows.labels.size),
            "every": plan.every,
            "class_balance": dict(zip(CLASSES, (round(float(b), 4) for b in balance), strict=True)),
        },
        "hyper_parameters": members.as_dict(),
        "seed": members.boosters.seed,
        "libraries": libraries_of(members),
        "confidence_quantiles": {str(s): round(q, 6) for s, q in evidence.quantiles.items()},
        "reference": _reference(series, rows, evidence),
        "usual_drift": _usual_drift(evidence, members.models, timeframe),
        "high_volatility_atr": round(evidence.high_volatility_atr, 8),
        "calibration": {name: _calibration(evidence, name) for name in (*members.models, ENSEMBLE)},
        "metrics": {
            "cost_bp": round(plan.label.cost * 1e4, 6),
            "traded_share": plan.share,
            "walk_forward": _rounded(evidence.measured.table()),
            "walk_forward_rows": int(evidence.measured.rows.labels.size),
            "walk_forward_by_fold": _brief(evidence.measured.tables_by(evidence.measured.fold)),
            "walk_forward_trades": _trades(evidence),
            "held_out": _held_out(unseen, evidence) if unseen else {},
        },
        "command": command,
    }


def _reference(series: Sequence[Series], rows: Rows, evidence: Evidence) -> dict[str, list[float]]:
    """Return the percentiles of what is watched for drift, from the least to the largest value."""
    closes = [one.bars[:, 3] for one in series]
    returns = np.concatenate([close[1:] / close[:-1] - 1.0 for close in closes])
    watched = {
        "confidence": scores.confidence(evidence.measured.predictions[ENSEMBLE]),
        "return": returns,
        "atr": rows.atr_fraction.astype(np.float64),
    }
    places = np.linspace(0.0, 1.0, _PERCENTILES)
    return {
        name: [round(float(x), 9) for x in np.quantile(values, places)]
        for name, values in watched.items()
    }


def _usual_drift(evidence: Evidence, models: Sequence[str], timeframe: str) -> dict[str, float]:
    """Return what the walk forward shows of each model: it was not trained on those rows."""
    measured = evidence.measured
    labels = measured.rows.labels
    edges = {
        name: edges_of([s for s, _, _ in scores.reliability(measured.predictions[name], labels)])
        for name in models
    }
    said = {name: scores.confidence(measured.predictions[name]) for name in models}
    found = usual_drift(said, measured.rows.times, timeframe_ms(timeframe), edges)
    return {name: round(much, 4) for name, much in found.items()}


def _calibration(evidence: Evidence, name: str) -> dict[str, Any]:
    measured = evidence.measured
    found = measured.predictions[name]
    return {
        "temperature": evidence.temperature.get(name, 1.0),
        "error": round(scores.calibration_error(found, measured.rows.labels), 5),
        "said_seen_rows": [
            [round(said, 4), round(seen, 4), rows]
            for said, seen, rows in scores.reliability(found, measured.rows.labels)
        ],
    }


def _held_out(unseen: Evidence, known: Evidence) -> dict[str, Any]:
    rows = unseen.measured.rows
    said = scores.confidence(unseen.measured.predictions[ENSEMBLE])
    return {
        "symbols": sorted(set(rows.symbols.tolist())),
        "from_ms": int(rows.times.min()),
        "to_ms": int(rows.times.max()),
        "rows": int(rows.labels.size),
        "share_at_or_above_quantile": {
            str(share): round(float((said >= threshold).mean()), 5)
            for share, threshold in known.quantiles.items()
        },
        "scores": _rounded(unseen.measured.table()),
        "by_symbol": _brief(unseen.measured.tables_by(rows.symbols)),
        "trades": _trades(unseen),
    }


def _trades(evidence: Evidence) -> dict[str, dict[str, float]]:
    return _rounded({name: asdict(found.earned()) for name, found in evidence.trades.items()})


def _brief(tables: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the log-loss alone, by group and name; the report holds the rest."""
    return {
        group: {name: round(found["log_loss"], 5) for name, found in table.items()}
        for group, table in tables.items()
    }


def _rounded(table: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {
        name: {key: round(value, 5) for key, value in found.items()}
        for name, found in table.items()
    }
