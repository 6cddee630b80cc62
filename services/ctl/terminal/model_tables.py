"""Tables of model artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quantum.ai.v1 import registry_pb2
from quantum.ai.v1.ai_service_pb2 import ListModelsResponse
from rich.console import Group, RenderableType
from rich.table import Table

from services.ctl.gateway_client import word

if TYPE_CHECKING:
    from services.ai.core.promotion_gate import Gain

_COLOURS = {"ACTIVE": "green", "SHADOW": "cyan", "RETIRED": "dim"}
_SCORES = ("log_loss", "direction_auc", "calibration_error")


def listed(told: ListModelsResponse) -> RenderableType:
    """Return the artifacts, then the pointers, then the models that vote."""
    table = _table("model artifacts", "version", "stage", "models", "trained to", *_SCORES)
    for row in told.artifacts:
        stage = word(row, "stage")
        trained = row.trained_to.ToDatetime().date().isoformat() if row.trained_to.seconds else ""
        numbers = (f"{row.metrics[s]:.4f}" if s in row.metrics else "-" for s in _SCORES)
        table.add_row(
            row.version, stage, " ".join(row.models), trained, *numbers, style=_COLOURS.get(stage)
        )
    weights = ", ".join(f"{m.name} {m.weight:.2f}" for m in told.models)
    lines = [f"voting: {weights}"]
    for stage, pointer in (("active", told.active), ("shadow", told.shadow)):
        if pointer.version:
            lines.append(f"{stage}: {told_of(pointer)}")
    return Group(table, *lines)


def told_of(pointer: registry_pb2.ModelPointer) -> str:
    """Return a pointer in a line."""
    if not pointer.effective_from.seconds:
        return f"{pointer.version} ({pointer.reason})"
    since = pointer.effective_from.ToDatetime().isoformat(" ", "seconds")
    before = f", before it {pointer.previous_version}" if pointer.previous_version else ""
    taken = f", took away {pointer.rolled_back_version}" if pointer.rolled_back_version else ""
    what = pointer.version or "none"
    return f"{what} from {since} UTC{before}{taken}, by {pointer.changed_by}: {pointer.reason}"


def shown(manifest: Mapping[str, Any], known: Mapping[str, Gain]) -> RenderableType:
    """Return what a manifest says; `known` is what its ensemble gains, by baseline."""
    facts = _table(str(manifest["version"]), "", "", header=False)
    training = manifest["training"]
    facts.add_row("SHA-256", str(manifest["sha256"]))
    facts.add_row("models", ", ".join(manifest["models"]))
    facts.add_row("candles", f"{manifest['timeframe']}, windows of {manifest['window']}")
    facts.add_row("trained on", f"{', '.join(training['symbols'])}: {training['rows']} rows")
    facts.add_row("made by", str(manifest.get("command", "")))
    walked = measured("walk forward", manifest["metrics"]["walk_forward"])
    return Group(facts, walked, _gained(known)) if known else Group(facts, walked)


def _gained(known: Mapping[str, Gain]) -> Table:
    """Return what the ensemble gains over each baseline, as the promotion gate looks at it."""
    title = "log-loss that the ensemble gains over the folds, 95 % interval"
    table = _table(title, "", "nats", "low", "high", "folds", "sure")
    for name, gain in known.items():
        numbers = (f"{number:+.4f}" for number in gain[:3])
        table.add_row(name, *numbers, str(gain.spans), "yes" if gain.sure else "no")
    return table


def measured(title: str, scores: Mapping[str, Mapping[str, float]]) -> Table:
    """Return scores by name."""
    columns = list(dict.fromkeys(key for found in scores.values() for key in found))
    table = _table(title, "", *(column.replace("_", " ") for column in columns))
    for name, found in scores.items():
        numbers = (f"{found[c]:.4f}" if c in found else "-" for c in columns)
        table.add_row(name.replace("_", " "), *numbers)
    return table


def compared(
    versions: Sequence[str],
    walk_forward: Sequence[Mapping[str, float]],
    same: Any | None,
    *,
    same_labels: bool,
) -> RenderableType:
    """Return two artifacts beside each other: as they were measured, and on the same candles."""
    parts: list[RenderableType] = [
        measured(
            "walk forward of the ensemble, each on its own data and labels",
            dict(zip(versions, walk_forward, strict=True)),
        )
    ]
    if not same_labels:
        text = "they were trained on different labels: log-loss on the first one's labels is"
        parts.append(f"{text} unfair to {versions[1]}")
    if same is None:
        return Group(*parts, "no recorded candles to compare them on: say --data FOLDER")
    low, high = same.interval
    parts += [
        measured(
            f"{same.rows} rows of {same.symbols} symbols, the same for both",
            {
                one.version: one.scores | {"in_sample": one.in_sample, "at_own_gate": one.gated}
                for one in (same.first, same.second)
            },
        ),
        f"same side on {same.same_side:.1%}, same signals {same.same_signals:.1%},"
        f" correlation {same.correlation:.3f}",
        f"log-loss of {same.second.version} less that of {same.first.version}:"
        f" {same.log_loss_difference:+.5f} [{low:+.5f}, {high:+.5f}]: {_verdict(same)}",
    ]
    return Group(*parts)


def _verdict(same: Any) -> str:
    low, high = same.interval
    if max(same.first.in_sample, same.second.in_sample) > 0:
        return "rows that one was trained on are among them, so that this proves nothing"
    if high < 0:
        return f"{same.second.version} is better"
    if low > 0:
        return f"{same.first.version} is better"
    return "no difference that these candles could show"


def _table(title: str, *columns: str, header: bool = True) -> Table:
    table = Table(title=title, title_justify="left", show_header=header)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
