"""Projections in PostgreSQL: the touched part is loaded, changed by the core and written back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from services.analytics.ledger.rows import (
    anchor_columns,
    equity_columns,
    fact_columns,
    fact_from_row,
    fill_columns,
    fill_from_row,
    funding_columns,
    funding_from_row,
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
    TABLES,
    TRADES,
    Columns,
    Table,
    upsert,
)

_LOCK = """
select pg_advisory_xact_lock_shared(hashtext('analytics.books'))::text
union all
select pg_advisory_xact_lock(hashtext('analytics.books'), hashtext(account))::text
from unnest($1::text[]) as account
"""
_LOCK_ALL = "select pg_advisory_xact_lock(hashtext('analytics.books'))"

# A plan that was kept from the time when the tables were small reads all fills of an account for
# each fill: twenty times the work at 4,000 fills. What is written needs no such care, and a plan
# for the very rows of each batch, which stand in it as text, was a tenth of the server's work.
_PLAN_ANEW = "set local plan_cache_mode = force_custom_plan"
_PLAN_ONCE = "set local plan_cache_mode = force_generic_plan"

# Two index look-ups each: joined by `or` they would read the whole table.
_FILLS_TOUCHED = """
select * from trade_fills where position_id = any($1::text[])
union all
select f.* from unnest($2::text[], $3::text[], $4::text[]) as k (account, symbol, id),
    lateral (select * from trade_fills f
        where f.account = k.account and f.symbol = k.symbol and f.trade_id = k.id limit 1) as f
"""
_FUNDING_TOUCHED = """
select * from trade_funding where position_id = any($1::text[])
union all
select f.* from unnest($2::text[], $3::text[], $4::text[]) as k (account, symbol, id),
    lateral (select * from trade_funding f
        where f.account = k.account and f.symbol = k.symbol and f.settlement_id = k.id limit 1) as f
"""
_GONE = "delete from trades where position_id = any($1::text[])"
_FACTS_TOUCHED = "select * from position_facts where position_id = any($1::text[])"

_Keys = tuple[list[str], list[str], list[str]]
Written = dict[Table, dict[tuple[Any, ...], Columns]]
"""Rows as they are in the database, by table and key."""


async def lock_accounts(connection: Any, accounts: Iterable[str]) -> None:
    """Let one transaction at a time change an account's books; always in the same order."""
    await connection.execute(_LOCK, sorted(set(accounts)))


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


@dataclass(slots=True)
class Loaded:
    """The part of the books that some facts touch, and the rows that it was read from.

    Wallets and marks are not read: the newest by the core's rank stays, whoever writes it.
    """

    books: Books = field(default_factory=Books)
    written: Written = field(default_factory=lambda: {FILLS: {}, FUNDING: {}, FACTS: {}})

    def take(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> set[str]:
        """Take in rows; return the positions that they belong to."""
        for row in rows:
            self.written[table][table.key_of(row)] = dict(row)
        return {row["position_id"] for row in rows} - {""}

    def fill_books(self) -> None:
        """Make the projection of the rows."""
        trades = self.books.trades
        trades.fills = {b.key: b for b in map(fill_from_row, self.written[FILLS].values())}
        trades.funding = {b.key: b for b in map(funding_from_row, self.written[FUNDING].values())}
        facts = map(fact_from_row, self.written[FACTS].values())
        trades.facts = {fact.position_id: fact for fact in facts}


async def load(connection: Any, facts: Sequence[Fact]) -> Loaded:
    """Load the part of the books that these facts touch."""
    fills = _columns(f.key for f in facts if isinstance(f, BookedFill))
    funding = _columns(f.key for f in facts if isinstance(f, BookedFunding))
    told = (BookedFill, BookedFunding, PositionFact)
    asked = {f.position_id for f in facts if isinstance(f, told)} - {""}
    loaded = Loaded()
    if asked or fills[0] or funding[0]:
        await connection.execute(_PLAN_ANEW)
        await _load(connection, loaded, asked, fills, funding)
        await connection.execute(_PLAN_ONCE)
    loaded.fill_books()
    return loaded


async def _load(
    connection: Any, loaded: Loaded, asked: set[str], fills: _Keys, funding: _Keys
) -> None:
    while asked or fills[0] or funding[0]:
        ids = sorted(asked)
        found = loaded.take(FILLS, await connection.fetch(_FILLS_TOUCHED, ids, *fills))
        found |= loaded.take(FUNDING, await connection.fetch(_FUNDING_TOUCHED, ids, *funding))
        if found <= asked:
            loaded.take(FACTS, await connection.fetch(_FACTS_TOUCHED, ids))
            break
        # A fill is known under another position: that one changes too and is loaded with it.
        asked |= found


def _columns(keys: Iterable[tuple[str, str, str]]) -> _Keys:
    rows = list(keys)
    return ([k[0] for k in rows], [k[1] for k in rows], [k[2] for k in rows])


@dataclass(frozen=True, slots=True)
class Changed:
    """Rows to write, and positions of which nothing is known any more."""

    rows: dict[Table, list[Columns]]
    gone: list[str]


def changes(books: Books, written: Written | None = None) -> Changed:
    """Every position, wallet and mark that changed; rows `written` as they are are left out."""
    holdings = books.trades.holdings()
    rows: dict[Table, list[Columns]] = {table: [] for table in TABLES}
    gone = []
    for position_id in sorted(books.trades.touched):
        held = holdings.get(position_id, Holdings())
        shares = shares_of(position_id, held.fills)
        rows[FILLS] += [fill_columns(f, shares[f.key]) for f in held.fills]
        rows[FUNDING] += [funding_columns(f) for f in held.funding]
        if not position_id:
            continue
        fact = books.trades.facts.get(position_id)
        if fact is not None:
            rows[FACTS].append(fact_columns(fact))
        trade = compute(position_id, fact, held.fills, held.funding)
        if trade is None:
            gone.append(position_id)
        else:
            rows[TRADES].append(trade_columns(trade))
    rows[ANCHORS] = [anchor_columns(books.anchors[a]) for a in sorted(books.changed_anchors)]
    rows[MARKS] = [mark_columns(key, books.marks[key]) for key in sorted(books.changed_marks)]
    rows[EQUITY] = [equity_columns(books.equity[key]) for key in sorted(books.equity)]
    rows[SIGNALS] = [signal_columns(books.signals[key]) for key in sorted(books.signals)]
    for table, known in (written or {}).items():
        if known:
            rows[table] = [row for row in rows[table] if known.get(table.key_of(row)) != row]
    return Changed(rows, gone)


async def write(connection: Any, changed: Changed) -> None:
    """Write changed rows."""
    await upsert(connection, changed.rows)
    if changed.gone:
        # A fill was given to another position, and nothing else is known of this one.
        await connection.execute(_GONE, changed.gone)


async def clear(connection: Any) -> None:
    """Empty the books, to be written anew by a rebuild in the same transaction."""
    for table in TABLES:
        await connection.execute(f"delete from {table.name}")  # noqa: S608 - names are our own
