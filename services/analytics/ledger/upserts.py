"""Rows of the projections written in one statement, however many tables and rows changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

Columns = dict[str, Any]
"""One row by column name."""

_TYPES = {
    name: kind
    for kind, names in {
        "timestamptz": "closed_time hour opened_time time",
        "date": "closed_day day",
        "bool": "agrees closed from_round in_sample maker",
        "bigint": "sequence",
        "integer": "leverage stop_version version",
        "float8": "confidence entry_confidence",
        "text": "account action client_order_id exit_reason model_version position_id purpose"
        " settlement_id side signal_id status symbol trace_id trade_id",
        "numeric": "amount commission entry_cost entry_price entry_quantity equity exit_cost"
        " exchange_realized exit_price exit_quantity funding gross_pnl high initial_stop low"
        " net_pnl price quantity realized reported_net wallet_balance",
    }.items()
    for name in names.split()
}
"""Types of the projections' columns, which have one type wherever their name stands."""
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
        values = (column for found in chunk.values() for column in _by_column(found))
        await connection.execute(_statement(shape), *values)
        start += _CHUNK


def _by_column(rows: Sequence[Columns]) -> Iterable[str]:
    # One text: the driver looks at each element of an array twice before it sends it. As text,
    # decimals and times stay exact.
    for column in zip(*[row.values() for row in rows], strict=True):
        yield _array(column)


def _array(values: Sequence[Any]) -> str:
    """Write values as PostgreSQL writes an array."""
    if None in values:
        return "{" + ",".join([_quoted(value) for value in values]) + "}"
    joined = '","'.join(values if isinstance(values[0], str) else map(str, values))
    if "\\" in joined or joined.count('"') != 2 * len(values) - 2:
        return "{" + ",".join([_quoted(value) for value in values]) + "}"
    return '{"' + joined + '"}'


def _quoted(value: Any) -> str:
    if value is None:
        return "null"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


@cache
def _statement(shape: tuple[tuple[Table, tuple[str, ...]], ...]) -> str:
    parts, used = [], 0
    for number, (table, columns) in enumerate(shape, 1):
        parts.append(f"t{number} as ({_upsert(table, columns, used)})")
        used += len(columns)
    return f"with {', '.join(parts)} select 1"


def _upsert(table: Table, columns: tuple[str, ...], used: int) -> str:
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
        f" select {names} from unnest({_arrays(columns, used)}) as new ({names})"
        f" on conflict ({', '.join(table.key)}) do {what}"
    )
    if not table.newer_by:
        return statement
    known, new = (
        ", ".join(f"{place}.{c}" for c in table.newer_by) for place in ("old", "excluded")
    )
    return f"{statement} where ({known}) < ({new})"


def _arrays(columns: tuple[str, ...], used: int) -> str:
    return ", ".join(f"${n}::text::{_TYPES[c]}[]" for n, c in enumerate(columns, used + 1))
