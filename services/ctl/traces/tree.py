"""A trace as a tree: who did what below whom, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.ctl.traces.span import Span


@dataclass(slots=True)
class Branch:
    """A span and what was done below it, in the order of the start."""

    span: Span
    below: list[Branch] = field(default_factory=list)
    orphan: bool = False
    """True when the span has a parent that is not here."""


def grow(spans: Sequence[Span]) -> list[Branch]:
    """Return the roots; a span whose parent is missing, or is its own ancestor, is one too."""
    branches = {span.span_id: Branch(span) for span in sorted(spans, key=lambda s: s.start)}
    roots = []
    for branch in branches.values():
        above = branches.get(branch.span.parent_id)
        if above is None or _circular(branch, branches):
            branch.orphan = bool(branch.span.parent_id)
            roots.append(branch)
        else:
            above.below.append(branch)
    return roots


def _circular(branch: Branch, branches: dict[str, Branch]) -> bool:
    seen = {branch.span.span_id}
    above = branches.get(branch.span.parent_id)
    while above is not None:
        if above.span.span_id in seen:
            return True
        seen.add(above.span.span_id)
        above = branches.get(above.span.parent_id)
    return False


def as_value(branch: Branch, origin: int) -> dict[str, Any]:
    """Return a branch as JSON shows it; times in milliseconds, offsets from `origin` (ns)."""
    span = branch.span
    return {
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "name": span.name,
        "service": span.service,
        "instance": span.instance,
        "kind": span.kind,
        "offset_ms": (span.start - origin) / 1e6,
        "duration_ms": (span.end - span.start) / 1e6,
        "failed": span.failed,
        "status": span.status,
        "attributes": span.attributes,
        "spans": [as_value(below, origin) for below in branch.below],
    }
