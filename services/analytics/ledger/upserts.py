"""Rows of the projections written in one statement, however many tables and rows changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

Columns = dict[str, Any]
"""One row by column name."""

_JSON = json.JSONEncoder(default=str, allow_nan=False, check_circular=False)
_CHUNK = 2_000
"""Rows of a table in one statement: a rebuild must not send a whole ledger as one value."""


@dataclass(frozen=True, slots=True)
class Table:
    """A projection and what names its rows."""

    name: str
    key: tuple[str, ...]
    newer_by: tuple[str, ...] = ()
    """A row gives way only to one that ranks higher by these; always when there are none."""
    merged: tuple[tuple[str, str], ...] = ()
    """Columns that are made of both rows, with the expression; `old` and `new` name the rows."""
    kept: bool = False
    """True: the row that is there stays; both say the same."""

    def key_of(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what names a row."""
        return tuple(row[column] for column in self.key)


FILLS = Table("trade_fills", ("account", "symbol", "trade_id"))
FUNDING = Table("trade_funding", ("account", "symbol", "settlement_id"))
FACTS = Table("position_facts", ("position_id",))
TRADES = Table("trades", ("position_id",))
# The core's ranks of wallets and marks, so that these need not be read before they are written.
ANCHORS = Table("portfolio", ("account",), ("from_round", "time", "sequence"))
MARKS = Table("marks", ("account", "symbol"), ("time", "sequence"))
_LATER = "(old.time, old.sequence, old.equity) < (new.time, new.sequence, new.equity)"
# What the core's `merge_hour` says, so that hours need not be read before they are written.
EQUITY = Table(
    "equity_hours",
    ("account", "hour"),
    merged=(
        ("low", "least(old.low, new.low)"),
        ("high", "greatest(old.high, new.high)"),
        ("in_sample", "old.in_sample or new.in_sample"),
        *(
            (column, f"case when {_LATER} then new.{column} else old.{column} end")
            for column in ("time", "sequence", "equity")
        ),
    ),
)
SIGNALS = Table("signal_prices", ("signal_id",), kept=True)
TABLES = (FILLS, FUNDING, FACTS, TRADES, ANCHORS, MARKS, EQUITY, SIGNALS)


async def upsert(connection: Any, rows: Mapping[Table, Sequence[Columns]]) -> None:
    """Write rows, each key once, into their tables."""
    start = 0
    while chunk := {t: r[start : start + _CHUNK] for t, r in rows.items() if len(r) > start}:
        shape = tuple((table, tuple(found[0])) for table, found in chunk.items())
        await connection.execute(_statement(shape), *(_as_json(r) for r in chunk.values()))
        start += _CHUNK


def _as_json(rows: Sequence[Columns]) -> str:
    # One text is cheaper than an array a column; as text, decimals and times stay exact.
    return _JSON.encode(rows)


@cache
def _statement(shape: tuple[tuple[Table, tuple[str, ...]], ...]) -> str:
    parts = (
        f"t{number} as ({_upsert(table, columns, number)})"
        for number, (table, columns) in enumerate(shape, 1)
    )
    return f"with {', '.join(parts)} select 1"


def _upsert(table: Table, columns: tuple[str, ...], number: int) -> str:
    merged = dict(table.merged)
    changes = ", ".join(
        f"{c} = {merged[c].replace('new.', 'excluded.') if c in merged else f'excluded.{c}'}"
        for c in columns
        if c not in table.key
    )
    names = ", ".join(columns)
    what = "nothing" if table.kept else f"update set {changes}"
    statement = (
        f"insert into {table.name} as old ({names})"  # noqa: S608 - names are our own
        f" select {names} from json_populate_recordset(null::{table.name}, ${number}::json)"
        f" on conflict ({', '.join(table.key)}) do {what}"
    )
    if not table.newer_by:
        return statement
    known, new = (
        ", ".join(f"{place}.{c}" for c in table.newer_by) for place in ("old", "excluded")
    )
    return f"{statement} where ({known}) < ({new})"
