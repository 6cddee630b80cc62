"""Projections in PostgreSQL: the touched part is loaded, changed by the core and written back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.analytics.core.books import Books
from services.analytics.core.ledger import (
    BookedFill,
    BookedFunding,
    Fact,
    PositionFact,
    RoundFact,
    WalletFact,
)
from services.analytics.core.trades import Holdings, compute, shares_of
from services.analytics.rows import (
    anchor_columns,
    anchor_from_row,
    fact_columns,
    fact_from_row,
    fill_columns,
    fill_from_row,
    funding_columns,
    funding_from_row,
    mark_columns,
    mark_from_row,
    trade_columns,
)

Columns = dict[str, Any]
"""One row by column name."""

_LOCK_SHARED = "select pg_advisory_xact_lock_shared(hashtext('analytics.books'))"
_LOCK_ALL = "select pg_advisory_xact_lock(hashtext('analytics.books'))"
_LOCK_ACCOUNT = "select pg_advisory_xact_lock(hashtext('analytics.books'), hashtext($1))"

_FILLS_TOUCHED = """
select * from trade_fills where (position_id = any($1::text[]) and position_id <> '')
or (account, symbol, trade_id) in (select * from unnest($2::text[], $3::text[], $4::text[]))
"""
_FUNDING_TOUCHED = """
select * from trade_funding where (position_id = any($1::text[]) and position_id <> '')
or (account, symbol, settlement_id) in (select * from unnest($2::text[], $3::text[], $4::text[]))
"""


async def lock_accounts(connection: Any, accounts: Iterable[str]) -> None:
    """Let one transaction at a time change an account's books; always in the same order."""
    await connection.execute(_LOCK_SHARED)
    for account in sorted(set(accounts)):
        await connection.execute(_LOCK_ACCOUNT, account)


async def lock_all(connection: Any) -> None:
    """Let nobody else change any books: for a rebuild."""
    await connection.execute(_LOCK_ALL)


def accounts_of(facts: Iterable[Fact]) -> set[str]:
    """Accounts whose books these facts change."""
    found = set()
    for fact in facts:
        if isinstance(fact, BookedFill):
            found.add(fact.fill.account)
        elif isinstance(fact, BookedFunding | PositionFact | RoundFact | WalletFact):
            found.add(fact.account)
    return found


async def load(connection: Any, facts: Sequence[Fact]) -> Books:
    """Load the part of the books that these facts touch."""
    fills = [f for f in facts if isinstance(f, BookedFill)]
    funding = [f for f in facts if isinstance(f, BookedFunding)]
    told = [f for f in facts if isinstance(f, PositionFact)]
    books = Books()
    positions = {f.position_id for f in fills} | {f.position_id for f in funding}
    positions = (positions | {f.position_id for f in told}) - {""}
    # A fill may be known under another position; that one changes too and is loaded with it.
    positions |= await _known_positions(connection, fills, funding)
    await _load_positions(connection, books, positions, fills, funding)
    accounts = sorted({f.account for f in facts if isinstance(f, RoundFact | WalletFact)})
    if accounts:
        await _load_accounts(connection, books, accounts)
    return books


async def _known_positions(
    connection: Any, fills: list[BookedFill], funding: list[BookedFunding]
) -> set[str]:
    known: set[str] = set()
    if fills:
        rows = await connection.fetch(_FILLS_TOUCHED, [], *_columns([f.key for f in fills]))
        known |= {row["position_id"] for row in rows}
    if funding:
        rows = await connection.fetch(_FUNDING_TOUCHED, [], *_columns([f.key for f in funding]))
        known |= {row["position_id"] for row in rows}
    return known - {""}


async def _load_positions(
    connection: Any,
    books: Books,
    positions: set[str],
    fills: list[BookedFill],
    funding: list[BookedFunding],
) -> None:
    if not (positions or fills or funding):
        return
    ids = sorted(positions)
    for row in await connection.fetch(_FILLS_TOUCHED, ids, *_columns([f.key for f in fills])):
        known = fill_from_row(row)
        books.trades.fills[known.key] = known
    for row in await connection.fetch(_FUNDING_TOUCHED, ids, *_columns([f.key for f in funding])):
        settled = funding_from_row(row)
        books.trades.funding[settled.key] = settled
    for row in await connection.fetch(
        "select * from position_facts where position_id = any($1::text[])", ids
    ):
        fact = fact_from_row(row)
        books.trades.facts[fact.position_id] = fact


async def _load_accounts(connection: Any, books: Books, accounts: Sequence[str]) -> None:
    for row in await connection.fetch(
        "select * from portfolio where account = any($1::text[])", accounts
    ):
        books.anchors[row["account"]] = anchor_from_row(row)
    for row in await connection.fetch(
        "select * from marks where account = any($1::text[])", accounts
    ):
        books.marks[(row["account"], row["symbol"])] = mark_from_row(row)


def _columns(keys: Iterable[tuple[str, str, str]]) -> tuple[list[str], list[str], list[str]]:
    rows = list(keys)
    return ([k[0] for k in rows], [k[1] for k in rows], [k[2] for k in rows])


async def save(connection: Any, books: Books) -> None:
    """Write every position, wallet and mark that changed."""
    holdings = books.trades.holdings()
    touched = sorted(books.trades.touched)
    rows = Rows()
    for position_id in touched:
        fact = books.trades.facts.get(position_id)
        rows.add(position_id, fact, holdings.get(position_id, Holdings()))
    books.trades.touched.clear()
    rows.anchors = [anchor_columns(books.anchors[a]) for a in sorted(books.changed_anchors)]
    rows.marks = [mark_columns(key, books.marks[key]) for key in sorted(books.changed_marks)]
    await rows.write(connection)


@dataclass(slots=True)
class Rows:
    """Rows to write, by table: one statement a table, however many positions changed."""

    fills: list[Columns] = field(default_factory=list)
    funding: list[Columns] = field(default_factory=list)
    facts: list[Columns] = field(default_factory=list)
    trades: list[Columns] = field(default_factory=list)
    anchors: list[Columns] = field(default_factory=list)
    marks: list[Columns] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """Positions of which nothing is known any more: a fill was given to another."""

    def add(self, position_id: str, fact: PositionFact | None, held: Holdings) -> None:
        """Add all rows of one position."""
        shares = shares_of(position_id, held.fills)
        self.fills += [fill_columns(f, shares[f.key]) for f in held.fills]
        self.funding += [funding_columns(f) for f in held.funding]
        if not position_id:
            return
        if fact is not None:
            self.facts.append(fact_columns(fact))
        trade = compute(position_id, fact, held.fills, held.funding)
        if trade is None:
            self.gone.append(position_id)
        else:
            self.trades.append(trade_columns(trade))

    async def write(self, connection: Any) -> None:
        """Write them."""
        await _put(connection, "trade_fills", ("account", "symbol", "trade_id"), self.fills)
        keys = ("account", "symbol", "settlement_id")
        await _put(connection, "trade_funding", keys, self.funding)
        await _put(connection, "position_facts", ("position_id",), self.facts)
        await _put(connection, "trades", ("position_id",), self.trades)
        await _put(connection, "portfolio", ("account",), self.anchors)
        await _put(connection, "marks", ("account", "symbol"), self.marks)
        if self.gone:
            await connection.execute(
                "delete from trades where position_id = any($1::text[])", self.gone
            )


async def _put(connection: Any, table: str, key: tuple[str, ...], rows: Sequence[Columns]) -> None:
    if rows:
        statement = _upsert(table, tuple(rows[0]), key)
        await connection.executemany(statement, [tuple(row.values()) for row in rows])


def _upsert(table: str, columns: tuple[str, ...], key: tuple[str, ...]) -> str:
    places = ", ".join(f"${i + 1}" for i in range(len(columns)))
    changes = ", ".join(f"{c} = excluded.{c}" for c in columns if c not in key)
    names = ", ".join(columns)
    return (
        f"insert into {table} ({names}) values ({places})"  # noqa: S608 - names are our own
        f" on conflict ({', '.join(key)}) do update set {changes}"
    )


async def clear(connection: Any) -> None:
    """Empty the books, to be written anew by a rebuild in the same transaction."""
    for table in ("trades", "trade_fills", "trade_funding", "position_facts", "portfolio", "marks"):
        await connection.execute(f"delete from {table}")  # noqa: S608 - names are our own
