"""Three books of the same trading, compared: the venue's, the executor's, the ledger's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg

from services.trade.times import from_datetime
from tests.support.stack import Stack

FillKey = tuple[str, str]
FillBook = dict[FillKey, tuple[Decimal, Decimal, Decimal, int]]
"""(symbol, trade id) to price, quantity, commission, market time."""


@dataclass(frozen=True, slots=True)
class Books:
    """All fills before one market time, as each of the three has them."""

    until: int
    venue: FillBook
    executor: FillBook
    ledger: FillBook


async def read(stack: Stack) -> Books:
    """Read the three books up to the last round that the ledger holds.

    Whatever happened before that round's market time is in all three: the executor committed it
    before it decided the round, and facts reach the ledger in the order of their commits.
    """
    async with stack.database() as connection:
        decided = await connection.fetchval(
            "select max(timestamp) from analytics.events where type = 'round.decided'"
        )
        assert decided is not None, "no round was decided"
        until = from_datetime(decided)
        executor = await _fills(connection, "exec_risk.fills", "filled_at", decided)
        ledger = await _fills(connection, "analytics.trade_fills", "time", decided)
    return Books(until, await _venue_fills(stack, until), executor, ledger)


async def _fills(
    connection: asyncpg.Connection, table: str, column: str, until: datetime
) -> FillBook:
    rows = await connection.fetch(
        f"select symbol, trade_id, price, quantity, commission, {column} as time"  # noqa: S608
        f" from {table} where {column} < $1",
        until,
    )
    return {
        (r["symbol"], r["trade_id"]): (
            r["price"],
            r["quantity"],
            r["commission"],
            from_datetime(r["time"]),
        )
        for r in rows
    }


async def _venue_fills(stack: Stack, until: int) -> FillBook:
    found: FillBook = {}
    exchange = await stack.venue("/fapi/v1/exchangeInfo")
    for symbol in (s["symbol"] for s in exchange["symbols"]):
        trades: list[dict[str, Any]] = await stack.venue(
            "/fapi/v1/userTrades", symbol=symbol, limit=1000
        )
        assert len(trades) < 1000, f"{symbol}: more trades than one page holds"
        for trade in trades:
            if trade["time"] < until:
                found[symbol, str(trade["id"])] = (
                    Decimal(trade["price"]),
                    Decimal(trade["qty"]),
                    Decimal(trade["commission"]),
                    int(trade["time"]),
                )
    return found


def assert_equal(books: Books) -> None:
    """The three agree to the last digit."""
    assert books.executor == books.venue
    assert books.ledger == books.venue
