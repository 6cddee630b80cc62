"""One training: recorded candles in, a checked artifact with its manifest and report out."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from services.ai.core.manifest import parse_manifest
from services.lab.training import artifact
from services.lab.training.data import FeatureReader, Inputs, Rows, Series, join_rows, make_rows
from services.lab.training.evidence import Evidence, evidence_of, held_out_evidence
from services.lab.training.features import WINDOW, build_features
from services.lab.training.kept import Kept, digest_of_sources
from services.lab.training.manifest import libraries_of, write_manifest
from services.lab.training.members import TOLERANCE, Fits, Member, fit_members
from services.lab.training.plan import TrainingPlan
from services.lab.training.report import verdicts, write_report
from services.lab.training.trades import Funding
from services.lab.training.walk_forward import walk_forward
from services.trade.ids import digest
from services.trade.times import timeframe_ms

Report = Callable[[str, int, int], None]
"""Told (stage, units done since the last call, units in all)."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training made, in memory."""

    content: bytes
    golden: bytes
    manifest: dict[str, Any]
    report: str
    verdicts: dict[str, list[str]]
    """In plain sentences, by what was measured on."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a training reads."""

    series: Sequence[Series]
    held_out: Sequence[Series]
    """Candles that are only measured on."""
    funding: Funding = field(default_factory=dict)


def train_artifact(
    material: Material, plan: TrainingPlan, command: str, report: Report, kept: Path | None = None
) -> Trained:
    """Make an artifact; ValueError (or a kind of it) says why it cannot be made.

    Finished fits are kept in the folder `kept`, under the digest of all that decides them, so that
    a training that was interrupted goes on where it was.
    """
    series = material.series
    timeframe = _one_timeframe([*series, *material.held_out])
    features = build_features()
    reader = FeatureReader(features)
    rows = _rows(series, reader, plan, report, "rows")
    windows = _sample_windows(series, artifact.LARGEST_BATCH)
    check = _inputs_of(windows, reader)
    place = Kept(kept / _key(plan, rows, check) if kept else None)
    models = len(plan.members.models)
    report("walk forward", 0, plan.folds * models)
    measured = walk_forward(
        rows,
        plan.members,
        plan.folds,
        (plan.label.purge + WINDOW) * timeframe_ms(timeframe),
        check,
        place,
        lambda done: report("walk forward", done, plan.folds * models),
    )
    evidence = evidence_of(measured, plan, timeframe, material.funding)
    report("final fit", 0, models)
    fits = Fits("final", check, place, lambda: report("final fit", 1, models))
    fitted = fit_members(rows.inputs, rows.labels, plan.members, fits)
    content, answers = _join(features, fitted, plan, evidence, windows)
    report("checks", 1, 1)
    unseen: Evidence | None = None
    if material.held_out:
        held = _rows(material.held_out, reader, plan, report, "held-out rows")
        unseen = held_out_evidence(rows, held, fitted, plan, evidence, material.funding, timeframe)
    manifest = write_manifest(plan, series, rows, evidence, unseen, timeframe, command)
    manifest["sha256"] = hashlib.sha256(content).hexdigest()
    manifest["bytes"] = len(content)
    manifest["golden_sha256"] = hashlib.sha256(answers).hexdigest()
    parse_manifest(json.dumps(manifest))
    cost = manifest["metrics"]["cost_bp"]
    said = {"walk forward": verdicts(evidence, cost)}
    if unseen:
        said["held out"] = verdicts(unseen, cost)
    return Trained(content, answers, manifest, write_report(manifest, evidence, unseen), said)


def save(trained: Trained, out: Path) -> Path:
    """Write the artifact's files into `out`/<version>; return that folder."""
    folder = out / str(trained.manifest["version"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(trained.content)
    (folder / "golden.npz").write_bytes(trained.golden)
    text = json.dumps(trained.manifest, indent=2) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    (folder / "report.html").write_text(trained.report, encoding="utf-8")
    return folder


def _one_timeframe(series: Sequence[Series]) -> str:
    timeframes = sorted({one.timeframe for one in series})
    if len(timeframes) != 1:
        raise ValueError(f"candles of one timeframe are needed, not {timeframes}")
    return timeframes[0]


def _key(plan: TrainingPlan, rows: Rows, check: Inputs) -> str:
    """Return what the fits depend on: plan, code, libraries, and every number that they read."""
    content = hashlib.sha256()
    for column in (*rows.inputs, rows.labels, rows.times, *check):
        content.update(np.ascontiguousarray(column).data)
    told = {"plan": asdict(plan), "libraries": libraries_of(plan.members)}
    code = digest_of_sources()
    return digest(json.dumps(told, sort_keys=True), code, content.hexdigest(), length=16)


def _rows(
    series: Sequence[Series], reader: FeatureReader, plan: TrainingPlan, report: Report, stage: str
) -> Rows:
    total = sum(max(0, s.times.size - WINDOW) // plan.every for s in series)
    return join_rows(
        [
            make_rows(s, reader, plan.label, plan.every, lambda n: report(stage, n, total))
            for s in series
        ]
    )


def _join(
    features: Any,
    fitted: Sequence[Member],
    plan: TrainingPlan,
    evidence: Evidence,
    windows: artifact.Floats,
) -> tuple[bytes, bytes]:
    parts = [
        artifact.Part(one.name, one.model, weight, evidence.temperature[one.name])
        for one, weight in zip(fitted, plan.members.weights, strict=True)
    ]
    content: bytes = artifact.join(features, parts).SerializeToString(deterministic=True)
    loaded = artifact.Artifact(content)
    artifact.check_rows(loaded, windows)
    artifact.check_finite(loaded, windows)
    _check_members(loaded, fitted, windows)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **artifact.golden(loaded, artifact.generated_windows(24)))  # type: ignore[arg-type]
    return content, buffer.getvalue()


def _sample_windows(series: Sequence[Series], count: int) -> artifact.Floats:
    each = -(-count // len(series))
    found: list[artifact.Floats] = []
    for one in series:
        starts = np.linspace(0, one.times.size - WINDOW, each).astype(np.int64)
        bars = one.bars.astype(np.float32)
        found.extend(bars[start : start + WINDOW] for start in starts)
    return np.stack(found)[:count]


def _inputs_of(windows: artifact.Floats, reader: FeatureReader) -> Inputs:
    ends = np.arange(1, windows.shape[0] + 1, dtype=np.int64) * WINDOW - 1
    read = reader.read(windows.reshape(-1, 5), ends, lambda _: None)
    return Inputs(read.features, read.series, read.level)


def _check_members(
    loaded: artifact.Artifact, fitted: Sequence[Member], windows: artifact.Floats
) -> None:
    """Refuse unless each model in the artifact says what the library that fitted it says."""
    ones = np.ones(len(fitted), dtype=np.float32)
    found = loaded.run(windows, temperature=ones)["model_probs"].astype(np.float64)
    for index, model in enumerate(fitted):
        worst = float(np.abs(found[:, index] - model.said).max())
        if worst > TOLERANCE:
            raise artifact.ArtifactRefused(f"{model.name} differs from its library by {worst:.2g}")
