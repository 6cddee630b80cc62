"""Tables of streams, their readers and their messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from services.catalog.subjects import HEADER_REASON, HEADER_SUBJECT
from services.ctl.stored import Stored, StreamState
from services.ctl.supervisor.home import Refused

_SUBJECTS_SHOWN = 20
_TEXT = 110


def states(found: Sequence[StreamState]) -> list[Table]:
    """Return the streams, the readers and the subjects that hold most."""
    streams = _table("streams", "stream", "messages", "MiB", "first", "last", "last stored")
    readers = _table("readers", "stream", "reader", "waiting", "not settled", "redelivered")
    held = _table("subjects", "subject", "messages")
    for state in found:
        when = f"{state.last_time:%Y-%m-%d %H:%M:%S}" if state.last_time else ""
        size = f"{state.bytes / (1 << 20):.1f}"
        first, last = str(state.first_sequence), str(state.last_sequence)
        streams.add_row(state.name, str(state.messages), size, first, last, when)
        for reader in state.consumers:
            counts = (reader.waiting, reader.unsettled, reader.redelivered)
            readers.add_row(state.name, reader.name, *map(str, counts))
    counted = [pair for state in found for pair in state.subjects.items()]
    counted.sort(key=lambda pair: (-pair[1], pair[0]))
    for subject, count in counted[:_SUBJECTS_SHOWN]:
        held.add_row(subject, str(count))
    if len(counted) > _SUBJECTS_SHOWN:
        rest = sum(count for _, count in counted[_SUBJECTS_SHOWN:])
        held.add_row(f"{len(counted) - _SUBJECTS_SHOWN} more", str(rest))
    return [table for table in (streams, readers, held) if table.row_count]


def state_told(state: StreamState) -> dict[str, Any]:
    """Return a stream's state for JSON."""
    when = state.last_time.isoformat() if state.last_time else None
    return {**asdict(state), "last_time": when}


def messages(found: Iterable[Stored]) -> Table:
    """Return messages with the begin of what they say."""
    table = _table("", "stored", "where", "type", "subject", "what it says")
    for one in found:
        place = f"{one.stream}:{one.sequence}"
        kind = one.message.type
        when = f"{one.time:%Y-%m-%d %H:%M:%S}"
        table.add_row(when, place, kind, one.subject, _said(one))
    return table


def letters(found: Iterable[Stored]) -> Table:
    """Return dead letters with their reasons."""
    table = _table("", "number", "died", "reader", "its subject", "type", "reason")
    for one in found:
        reader = one.subject.removeprefix("quantum.deadletter.")
        origin = one.headers.get(HEADER_SUBJECT, "")
        reason = one.headers.get(HEADER_REASON, "")
        when = f"{one.time:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(one.sequence), when, reader, origin, one.message.type, reason)
    return table


def _said(one: Stored) -> str:
    try:
        text = json.dumps(one.content())
    except Refused as error:
        text = str(error)
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 3]}..."


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
