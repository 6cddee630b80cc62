"""Events as COPY data in PostgreSQL's binary format.

The driver encodes cell by cell. Here a row is joined in one step, and what many events share is
encoded once.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct

from services.analytics.core.ledger import LedgerEvent

COLUMNS = (
    "type", "source", "key", "subject", "event_id", "trace_id", "timestamp", "sequence", "data",
    "payload",
)  # fmt: skip
"""In the order of the cells."""
COPY_EVENTS = {"table_name": "events", "columns": COLUMNS, "format": "binary"}

_SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_EPOCH_MS = 946_684_800_000
"""2000-01-01, from which PostgreSQL counts microseconds."""
_MANY = 8192

_count = Struct(">h").pack
_length = Struct(">i").pack
_times = Struct(">iqiq").pack
_jsonb = Struct(">ib").pack


def copy_data(events: Iterable[LedgerEvent]) -> bytearray:
    """Return what COPY takes for these events."""
    return bytearray().join((_SIGNATURE, *map(_row, events), _TRAILER))


def _row(event: LedgerEvent) -> bytes:
    event_id, trace = event.event_id.encode(), event.trace_id.encode()
    data, payload = event.data.encode(), event.payload
    return b"".join(
        (
            _shared(event.type, event.source, event.key, event.subject),
            _length(len(event_id)),
            event_id,
            _length(len(trace)),
            trace,
            _times(8, (event.time - _EPOCH_MS) * 1000, 8, event.sequence),
            _jsonb(len(data) + 1, 1),
            data,
            _length(len(payload)),
            payload,
        )
    )


@lru_cache(maxsize=_MANY)
def _shared(*texts: str) -> bytes:
    cells = [_length(len(raw)) + raw for raw in (text.encode() for text in texts)]
    return b"".join((_count(len(COLUMNS)), *cells))
