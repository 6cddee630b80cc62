"""Spans in SQLite: bounded in age and in size, the oldest go first."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from services.ctl.traces.span import Span

KEEP_NS = 7 * 86_400 * 10**9
MOST_BYTES = 512 << 20
_SHRINK = 10
"""A store that is too large loses one part of so many at a time."""
_SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = normal;
create table if not exists spans (
    trace_id text not null,
    span_id text not null,
    parent_id text not null,
    name text not null,
    service text not null,
    instance text not null,
    kind text not null,
    started integer not null,
    ended integer not null,
    failed integer not null,
    status text not null,
    attributes text not null,
    primary key (trace_id, span_id)
) without rowid;
create index if not exists spans_started on spans (started);
create table if not exists orders (
    client_order_id text not null,
    trace_id text not null,
    started integer not null,
    primary key (client_order_id, trace_id)
) without rowid;
create index if not exists orders_started on orders (started);
"""
_COLUMNS = (
    "trace_id, span_id, parent_id, name, service, instance, kind, started, ended, failed,"
    " status, attributes"
)
_PUT = f"insert or ignore into spans ({_COLUMNS}) values (?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608
_FIELDS = tuple(field.name for field in fields(Span))
"""In the order of the columns."""
_SUMMARY = """
select t.trace_id, min(s.started), max(s.ended), count(*), sum(s.failed),
    group_concat(distinct s.service),
    (select name from spans r where r.trace_id = t.trace_id order by started limit 1)
from (
    select trace_id, max(started) as latest from spans where (? = 0 or failed) group by trace_id
    order by latest desc limit ?
) as t join spans s on s.trace_id = t.trace_id
group by t.trace_id order by min(s.started) desc
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """One trace in a list."""

    trace_id: str
    start: int
    end: int
    spans: int
    failed: int
    services: tuple[str, ...]
    root: str
    """Name of its first span."""


class SpanStore:
    """One file; one process writes, any may read."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, file: Path) -> SpanStore:
        """Open for writing; the file is made where it is missing."""
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file)
        connection.executescript(_SCHEMA)
        return cls(connection)

    @classmethod
    def read(cls, file: Path) -> SpanStore:
        """Open for reading; FileNotFoundError when nothing was ever stored."""
        if not file.exists():
            raise FileNotFoundError(file)
        return cls(sqlite3.connect(f"file:{file}?mode=ro", uri=True))

    def put(self, spans: Iterable[Span]) -> None:
        """Keep spans; one that is there already stays as it is."""
        found = list(spans)
        orders = [(s.order_id, s.trace_id, s.start) for s in found if s.order_id]
        with self._connection as connection:
            connection.executemany(_PUT, [_row(span) for span in found])
            connection.executemany("insert or ignore into orders values (?,?,?)", orders)

    def trim(self, now: int, *, keep: int = KEEP_NS, most_bytes: int = MOST_BYTES) -> int:
        """Forget what is too old, and the oldest while it is too much; return how many spans."""
        before = self._count()
        self._forget(now - keep)
        while self._bytes() > most_bytes and (count := self._count()):
            cut = self._connection.execute(
                "select started from spans order by started limit 1 offset ?", (count // _SHRINK,)
            ).fetchone()[0]
            self._forget(cut + 1)
        return before - self._count()

    def trace(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace in the order of their start."""
        rows = self._connection.execute(
            f"select {_COLUMNS} from spans where trace_id = ? order by started, ended desc",  # noqa: S608
            (trace_id,),
        )
        return [_span(row) for row in rows]

    def starting_with(self, prefix: str) -> list[str]:
        """Return the ids of traces that begin so, at most two."""
        rows = self._connection.execute(
            "select distinct trace_id from spans where trace_id >= ? and trace_id < ? limit 2",
            (prefix, prefix + "g"),
        )
        return [row[0] for row in rows]

    def of_order(self, client_order_id: str) -> str | None:
        """Return the trace in which an order was first mentioned."""
        return self._id(
            "select trace_id from orders where client_order_id = ? order by started limit 1",
            client_order_id,
        )

    def last_order(self) -> str | None:
        """Return the newest trace in which an order was sent."""
        return self._id(
            "select trace_id from spans where name = 'place order' order by started desc limit 1"
        )

    def list(self, count: int, *, failed: bool = False) -> Sequence[Summary]:
        """Return the newest traces, or the newest of those in which something failed."""
        rows = self._connection.execute(_SUMMARY, (int(failed), count))
        return [
            Summary(i, start, end, spans, bad, tuple(sorted(services.split(","))), root)
            for i, start, end, spans, bad, services, root in rows
        ]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _forget(self, before: int) -> None:
        with self._connection as connection:
            connection.execute("delete from spans where started < ?", (before,))
            connection.execute("delete from orders where started < ?", (before,))

    def _bytes(self) -> int:
        pages, free, size = (
            int(self._one(f"pragma {name}") or 0)
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _count(self) -> int:
        return int(self._one("select count(*) from spans") or 0)

    def _id(self, statement: str, *values: str) -> str | None:
        found = self._one(statement, *values)
        return None if found is None else str(found)

    def _one(self, statement: str, *values: Any) -> Any:
        row = self._connection.execute(statement, values).fetchone()
        return None if row is None else row[0]


def _row(span: Span) -> tuple[Any, ...]:
    return (
        span.trace_id,
        span.span_id,
        span.parent_id,
        span.name,
        span.service,
        span.instance,
        span.kind,
        span.start,
        span.end,
        int(span.failed),
        span.status,
        json.dumps(span.attributes),
    )


def _span(row: Sequence[Any]) -> Span:
    values = dict(zip(_FIELDS, row, strict=True))
    changed = {"failed": bool(row[9]), "attributes": json.loads(row[11])}
    return Span(**values | changed)
