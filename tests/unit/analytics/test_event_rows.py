"""COPY data holds every cell of every event, as PostgreSQL's binary format says."""

from __future__ import annotations

from struct import unpack_from

from hypothesis import given
from hypothesis import strategies as st

from services.analytics.core.ledger import LedgerEvent
from services.analytics.ledger.event_rows import COLUMNS, copy_data

TEXT = st.text(max_size=8)
EVENTS = st.builds(
    LedgerEvent,
    event_id=TEXT,
    type=TEXT,
    time=st.integers(0, 4_102_444_800_000),
    source=TEXT,
    trace_id=TEXT,
    key=TEXT,
    subject=TEXT,
    sequence=st.integers(0, 2**63 - 1),
    data=TEXT,
    payload=st.binary(max_size=8),
)


def rows_of(data: bytes) -> list[list[bytes]]:
    """Take COPY data apart; fails when it does not end where it must."""
    assert data[:19] == b"PGCOPY\n\xff\r\n\x00" + bytes(8)
    at = 19
    rows: list[list[bytes]] = []
    while True:
        (cells,) = unpack_from(">h", data, at)
        at += 2
        if cells == -1:
            assert at == len(data)
            return rows
        row = []
        for _ in range(cells):
            (size,) = unpack_from(">i", data, at)
            row.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        rows.append(row)


def expected(event: LedgerEvent) -> dict[str, bytes]:
    """The cells by their column."""
    texts = ("type", "source", "key", "subject", "event_id", "trace_id")
    since_2000 = (event.time - 946_684_800_000) * 1000
    return {name: getattr(event, name).encode() for name in texts} | {
        "timestamp": since_2000.to_bytes(8, signed=True),
        "sequence": event.sequence.to_bytes(8),
        "data": b"\x01" + event.data.encode(),
        "payload": event.payload,
    }


@given(st.lists(EVENTS, max_size=5))
def test_every_cell_is_sent_as_it_is(events: list[LedgerEvent]) -> None:
    rows = rows_of(bytes(copy_data(events)))
    assert [dict(zip(COLUMNS, row, strict=True)) for row in rows] == list(map(expected, events))
