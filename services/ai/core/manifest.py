"""The manifest of a model artifact: what serving must know of it, and how it is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from services.ai.core.drift import edges_of

CLASSES = ("down", "flat", "up")
"""Order of the probabilities, in every model."""
COLUMNS = ("open", "high", "low", "close", "volume")
"""Order of a window's columns."""


class BadManifest(ValueError):
    """The manifest lacks something or contradicts itself; the message names it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What serving needs of `manifest.json`. Times are market time in milliseconds."""

    version: str
    sha256: str
    """Of model.onnx, hexadecimal."""
    golden_sha256: str
    models: tuple[str, ...]
    weights: tuple[float, ...]
    """Share of each model in the ensemble; they sum to 1."""
    feature_names: tuple[str, ...]
    window: int
    """Bars in a window."""
    timeframe: str
    horizon: int
    """Bars within which the predicted move is to come."""
    trained_from: int
    trained_to: int
    """End of the last bar that a training label looked at."""
    confidence_quantiles: tuple[tuple[float, float], ...]
    """(share, confidence): that share of candles was at or above it out of sample; ascending."""
    metrics: Mapping[str, Mapping[str, float]]
    """Walk-forward metrics by model name, `ensemble` among them."""
    golden_tolerance: float
    high_volatility_atr: float = math.inf
    """ATR, as a fraction of price, from which on a window counts as wild."""
    usual_confidence: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By model: where ten groups of its confidence part that were equally filled out of sample."""
    usual_drift: Mapping[str, float] = field(default_factory=dict)
    """By model: excess of its stability index that one block in a hundred shows without drift."""
    fold_losses: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Walk-forward log-loss by name, one of each fold."""

    def in_sample(self, open_time: int, close_time: int) -> bool:
        """Tell whether a candle overlaps the range that training has seen."""
        return open_time < self.trained_to and close_time > self.trained_from


def parse_manifest(text: str | bytes) -> Manifest:
    """Read a manifest; BadManifest when a key is missing, mistyped or contradictory."""
    try:
        manifest = _manifest(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadManifest(f"manifest: {type(error).__name__}: {error}") from error
    _check(manifest)
    return manifest


def _manifest(raw: Mapping[str, Any]) -> Manifest:
    if tuple(raw["classes"]) != CLASSES:
        raise BadManifest(f"classes are {raw['classes']}, not {list(CLASSES)}")
    if tuple(raw["columns"]) != COLUMNS:
        raise BadManifest(f"columns are {raw['columns']}, not {list(COLUMNS)}")
    quantiles = sorted((float(k), float(v)) for k, v in raw["confidence_quantiles"].items())
    training = raw["training"]
    return Manifest(
        version=str(raw["version"]),
        sha256=str(raw["sha256"]),
        golden_sha256=str(raw["golden_sha256"]),
        models=tuple(raw["models"]),
        weights=tuple(float(w) for w in raw["weights"]),
        feature_names=tuple(raw["feature_names"]),
        window=int(raw["window"]),
        timeframe=str(raw["timeframe"]),
        horizon=int(raw["label"]["horizon"]),
        trained_from=int(training["from_ms"]),
        trained_to=int(training["to_ms"]),
        confidence_quantiles=tuple(quantiles),
        metrics=_metrics(raw["metrics"]["walk_forward"]),
        golden_tolerance=float(raw["golden_tolerance"]),
        high_volatility_atr=float(raw.get("high_volatility_atr", math.inf)),
        usual_confidence={
            name: edges_of([float(said) for said, _, _ in found["said_seen_rows"]])
            for name, found in raw.get("calibration", {}).items()
        },
        usual_drift={name: float(much) for name, much in raw.get("usual_drift", {}).items()},
        fold_losses=_fold_losses(raw["metrics"]),
    )


def _fold_losses(metrics: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Return the losses by name; older artifacts hold them so, newer ones by fold."""
    found = dict(metrics.get("walk_forward_log_loss_by_fold", {}))
    folds = list(metrics.get("walk_forward_by_fold", {}).values())
    for name in sorted(set().union(*folds)):
        found[name] = [fold[name] for fold in folds]
    return {name: tuple(float(loss) for loss in losses) for name, losses in found.items()}


def _metrics(raw: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    return {
        name: {key: float(value) for key, value in found.items()} for name, found in raw.items()
    }


def _check(manifest: Manifest) -> None:
    if len(manifest.weights) != len(manifest.models) or not manifest.models:
        raise BadManifest(f"{len(manifest.weights)} weights for {len(manifest.models)} models")
    if any(not 0.0 <= w <= 1.0 for w in manifest.weights) or abs(sum(manifest.weights) - 1) > 1e-6:
        raise BadManifest(f"weights {manifest.weights} are not shares of 1")
    if not _descending([confidence for _, confidence in manifest.confidence_quantiles]):
        raise BadManifest("confidence quantiles do not fall with the share")
    if not manifest.high_volatility_atr > 0:
        raise BadManifest(f"high volatility begins at {manifest.high_volatility_atr}")
    if not all(map(_ascending, manifest.usual_confidence.values())):
        raise BadManifest("groups of usual confidence do not rise within 0 and 1")
    if not all(0.0 <= much < math.inf for much in manifest.usual_drift.values()):
        raise BadManifest(f"usual drift {manifest.usual_drift} is not finite and positive")
    if manifest.window <= 0 or manifest.trained_from >= manifest.trained_to:
        raise BadManifest("window or training range is empty")


def _ascending(numbers: Sequence[float]) -> bool:
    return all(0.0 <= n <= 1.0 for n in numbers) and all(a <= b for a, b in pairwise(numbers))


def _descending(numbers: Sequence[float]) -> bool:
    in_range = all(0.0 <= n <= 1.0 for n in numbers)
    ordered = all(a >= b for a, b in pairwise(numbers))
    return bool(numbers) and in_range and ordered
