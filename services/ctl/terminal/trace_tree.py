"""Traces for people: a tree of spans, a list of traces."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from services.ctl.traces.span import Span
from services.ctl.traces.store import Summary
from services.ctl.traces.tree import Branch

_SHOWN = {
    "http.response.status_code": "http",
    "rpc.grpc.status_code": "grpc",
    "grpc.status_code": "grpc",
    "messaging.destination.name": "",
    "messaging.message.id": "",
    "upstream_cluster": "upstream",
}
_OWN = "quantum."
_LONGEST = 60


def tree(trace_id: str, roots: Sequence[Branch]) -> Tree:
    """Return the spans of a trace below each other."""
    origin = min(root.span.start for root in roots)
    end = max(_last(root) for root in roots)
    count = sum(_count(root) for root in roots)
    head = f"trace {trace_id}  {_moment(origin)}  {count} spans, {_ms(end - origin)}"
    grown = Tree(Text(head, style="bold"), guide_style="dim")
    for root in roots:
        _add(grown, root, origin)
    return grown


def table(found: Sequence[Summary]) -> Table:
    """Return traces as rows."""
    shown = Table(title="traces, the newest first")
    for name in ("trace", "began", "took", "spans", "failed", "first", "services"):
        shown.add_column(name, justify="right" if name in ("took", "spans", "failed") else "left")
    for each in found:
        shown.add_row(
            each.trace_id,
            _moment(each.start),
            _ms(each.end - each.start),
            str(each.spans),
            str(each.failed or ""),
            each.root,
            ", ".join(each.services),
        )
    return shown


def _add(above: Tree, branch: Branch, origin: int) -> None:
    grown = above.add(_line(branch, origin))
    for below in branch.below:
        _add(grown, below, origin)


def _line(branch: Branch, origin: int) -> Text:
    span = branch.span
    line = Text()
    line.append(span.name, style="bold red" if span.failed else "bold")
    line.append(f"  {span.service}", style="cyan")
    line.append(f"  +{_ms(span.start - origin)}  {_ms(span.end - span.start)}")
    if span.failed:
        line.append(f"  FAILED {span.status}".rstrip(), style="red")
    if branch.orphan:
        line.append("  (its parent is not here)", style="dim")
    told = _told(span)
    if told:
        line.append(f"  {told}", style="dim")
    return line


def _told(span: Span) -> str:
    parts = []
    for key, value in span.attributes.items():
        name = key.removeprefix(_OWN) if key.startswith(_OWN) else _SHOWN.get(key)
        if name is None or value in ("", None):
            continue
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        text = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
        parts.append(f"{name}={text}" if name else text)
    return " ".join(parts)


def _last(branch: Branch) -> int:
    return max([branch.span.end, *(_last(below) for below in branch.below)])


def _count(branch: Branch) -> int:
    return 1 + sum(_count(below) for below in branch.below)


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.1f} ms"


def _moment(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
