"""What is told of a stored artifact without opening it: texts beside the object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.ai.core.manifest import Manifest
from services.ai.core.promotion_gate import ENSEMBLE


@dataclass(frozen=True, slots=True)
class Summary:
    """An artifact in a line. Times are market time in milliseconds; 0 is not known."""

    sha256: str = ""
    """Of its graph."""
    timeframe: str = ""
    models: tuple[str, ...] = ()
    trained_from: int = 0
    trained_to: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Walk-forward metrics of the ensemble."""


def summary_of(manifest: Manifest) -> Summary:
    """Return the summary of an artifact."""
    return Summary(
        sha256=manifest.sha256,
        timeframe=manifest.timeframe,
        models=manifest.models,
        trained_from=manifest.trained_from,
        trained_to=manifest.trained_to,
        metrics=dict(manifest.metrics.get(ENSEMBLE, {})),
    )


def write_summary(summary: Summary) -> dict[str, str]:
    """Return the summary as texts by key."""
    return {
        "sha256": summary.sha256,
        "timeframe": summary.timeframe,
        "models": " ".join(summary.models),
        "trained_from": str(summary.trained_from),
        "trained_to": str(summary.trained_to),
        "metrics": json.dumps(dict(summary.metrics), sort_keys=True),
    }


def read_summary(texts: Mapping[str, str]) -> Summary:
    """Read a summary; what is missing or unreadable is left out: it is only shown."""
    try:
        metrics = {str(k): float(v) for k, v in json.loads(texts.get("metrics", "{}")).items()}
    except (ValueError, TypeError, AttributeError):
        metrics = {}
    return Summary(
        sha256=texts.get("sha256", ""),
        timeframe=texts.get("timeframe", ""),
        models=tuple(texts.get("models", "").split()),
        trained_from=_time(texts.get("trained_from", "")),
        trained_to=_time(texts.get("trained_to", "")),
        metrics=metrics,
    )


def _time(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
