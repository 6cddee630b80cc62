"""Projections made anew from the recorded events, to compare with the live ones or replace them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.analytics.codec import facts_of
from services.analytics.core.books import Books
from services.analytics.core.ledger import FillKey, PredictionFact
from services.analytics.core.trades import compute, shares_of
from services.analytics.ledger import books_store
from services.analytics.ledger.rows import (
    anchor_columns,
    equity_columns,
    fact_columns,
    fill_columns,
    funding_columns,
    mark_columns,
    signal_columns,
    trade_columns,
)
from services.analytics.ledger.upserts import (
    ANCHORS,
    EQUITY,
    FACTS,
    FILLS,
    FUNDING,
    MARKS,
    SIGNALS,
    TRADES,
    Columns,
    Table,
)
from services.kit.postgres.db import Database
from services.kit.postgres.login import Where

_PROJECTED = (
    "fill.recorded",
    "funding.paid",
    "position.opened",
    "position.changed",
    "position.closed",
    "round.decided",
    "account.snapshot",
    "prediction",
    "signal.generated",
)
_EVENTS = "select type, payload, sequence from events where type = any($1::text[])"


_ARCHIVED = "select file from archives where restored_at is null order by file"


class LedgerIncomplete(Exception):
    """Events lie in archives: what is rebuilt without them would lose trades."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a rebuild found."""

    events: int
    trades: int
    differences: tuple[str, ...]


async def rebuild(where: Where, schema: str, *, check: bool) -> Report:
    """Project all events again; compare with the live projections, and replace them unless `check`.

    A check reads one snapshot and disturbs nobody. A rebuild holds up the sinks while it runs.
    LedgerIncomplete while events are archived.
    """
    database = await Database.connect(
        where,
        schema=schema,
        application_name="analytics-rebuild",
        transaction_timeout_ms=0,
        command_timeout=3600.0,
    )
    try:
        async with database.pool.acquire() as connection:
            await _require_whole(connection)
            if check:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    return await _compare(connection, *await _project(connection))
            async with connection.transaction():
                await books_store.lock_all(connection)
                books, events, predictions = await _project(connection)
                report = await _compare(connection, books, events, predictions)
                await books_store.clear(connection)
                await books_store.write(connection, books_store.changes(books))
                return report
    finally:
        await database.close()


async def _require_whole(connection: Any) -> None:
    files = [row["file"] for row in await connection.fetch(_ARCHIVED)]
    if files:
        raise LedgerIncomplete(
            f"events of {len(files)} files are archived, from {files[0]} to {files[-1]}; put them"
            " back first: python -m services.analytics restore-archive FILE"
        )


async def _project(connection: Any) -> tuple[Books, int, int]:
    books = Books()
    events = 0
    predictions = set()
    async for row in connection.cursor(_EVENTS, list(_PROJECTED), prefetch=1000):
        events += 1
        for fact in facts_of(row["type"], row["payload"], row["sequence"]):
            books.apply(fact)
            if isinstance(fact, PredictionFact):
                predictions.add(fact.key)
    return books, events, len(predictions)


async def _compare(connection: Any, books: Books, events: int, predictions: int) -> Report:
    differences: list[str] = []
    expected = rows_of(books)
    for table, rows in expected.items():
        columns = ", ".join(rows[0]) if rows else "*"
        live = await connection.fetch(f"select {columns} from {table.name}")  # noqa: S608 - ours
        differences += _different(table, rows, live)
    counted = await connection.fetchval(
        "select coalesce(sum(predictions), 0) from prediction_counts"
    )
    if counted != predictions:
        differences.append(f"predictions: {counted} counted, {predictions} in the ledger")
    return Report(events, len(expected[TRADES]), tuple(differences))


def rows_of(books: Books) -> dict[Table, list[Columns]]:
    """Return the rows that the tables must hold for these books."""
    trades = books.trades
    shares: dict[FillKey, Decimal] = {}
    computed = []
    for position_id, held in sorted(trades.holdings().items()):
        shares |= shares_of(position_id, held.fills)
        fact = trades.facts.get(position_id)
        if position_id:
            computed.append(compute(position_id, fact, held.fills, held.funding))
    return {
        TRADES: [trade_columns(trade) for trade in computed if trade is not None],
        FILLS: [fill_columns(f, shares[f.key]) for f in trades.fills.values()],
        FUNDING: [funding_columns(f) for f in trades.funding.values()],
        FACTS: [fact_columns(f) for f in trades.facts.values()],
        ANCHORS: [anchor_columns(a) for a in books.anchors.values()],
        MARKS: [mark_columns(key, mark) for key, mark in books.marks.items()],
        EQUITY: [equity_columns(hour) for hour in books.equity.values()],
        SIGNALS: [signal_columns(fact) for fact in books.signals.values()],
    }


def _different(
    table: Table,
    expected: Iterable[Mapping[str, Any]],
    live: Iterable[Mapping[str, Any]],
) -> list[str]:
    wanted = {table.key_of(row): row for row in expected}
    found = {table.key_of(row): row for row in live}
    lines = [f"{table.name} {_name(k)}: missing" for k in wanted.keys() - found.keys()]
    lines += [f"{table.name} {_name(k)}: not in the ledger" for k in found.keys() - wanted.keys()]
    for name in wanted.keys() & found.keys():
        for column, value in wanted[name].items():
            if found[name][column] != value:
                lines.append(
                    f"{table.name} {_name(name)}: {column} is {found[name][column]}, by the ledger"
                    f" {value}"
                )
    return sorted(lines)


def _name(key: tuple[Any, ...]) -> str:
    return "/".join(str(part) for part in key)
