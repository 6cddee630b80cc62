"""Reads the account back from PostgreSQL into the core's state."""

from __future__ import annotations

from decimal import Decimal

import asyncpg

from services.exec_risk.core.account.periods import Day
from services.exec_risk.core.account.results import KEPT, ClosedTrade
from services.exec_risk.core.facts import Latch
from services.exec_risk.core.market import Quote
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.state import KEEP_MS, Book
from services.exec_risk.database import execution_rows, fund_rows, rows
from services.trade.position import SafetyLevel, TradingState
from services.trade.times import from_datetime, to_datetime

_LIVE = "state not in ('FILLED', 'CANCELED', 'REJECTED', 'EXPIRED')"
_RECENT_ORDERS = f"""
select {rows.ORDER_COLUMNS} from orders where account = $1 and ({_LIVE} or updated_at >= $2
or position_id in (select position_id from positions where account = $1 and status = 'open'))
order by decided_at, version, client_order_id
"""  # noqa: S608 - names are ours

_CANCELS = f"""
select client_order_id from cancels join orders using (account, client_order_id)
where account = $1 and {_LIVE}
"""  # noqa: S608 - names are ours
_RESULTS = """
with closed as (
    select * from positions where account = $1 and status = 'closed'
)
select closed_at, position_id, symbol, pnl_usd, entry_cost from closed
where closed_at >= (
    select date_trunc('day', max(closed_at), 'UTC') from closed
) or position_id in (
    select position_id from closed order by closed_at desc, position_id desc limit $2
)
order by closed_at, position_id
"""
_RECENT_EXECUTIONS = f"""
select {execution_rows.EXECUTION_COLUMNS} from executions where account = $1
and (state = 'WORKING' or updated_at >= $2
or position_id in (select position_id from positions where account = $1 and status = 'open'))
order by started_at, execution_id
"""  # noqa: S608 - names are ours


class BookReader:
    """Reads one account."""

    def __init__(self, account: str) -> None:
        self._account = account

    async def read(self, connection: asyncpg.Connection, policy: Policy) -> Book:
        """Return the account as the last commit left it."""
        book = Book(policy)
        account = self._account
        row = await connection.fetchrow("select * from account where account = $1", account)
        if row is not None:
            book.time = from_datetime(row["market_time"])
            book.wallet = row["wallet_balance"]
            book.last_round = rows.optional_time(row["last_round"]) or 0
            book.in_sample = row["in_sample"]
            book.high_water = row["high_water"]
            book.begun_time = rows.optional_time(row["begun_at"]) or 0
            book.read_time = rows.optional_time(row["read_at"]) or 0
        state = await connection.fetchval(
            "select state from trading_state where account = $1", account
        )
        book.trading_state = TradingState(state) if state else TradingState.ACTIVE
        latch = await connection.fetchrow(
            "select * from emergency_latch where account = $1 and latched", account
        )
        if latch is not None:
            when = from_datetime(latch["latched_at"])
            book.latch = Latch(latch["reason"], latch["latched_by"], when, latch["request_id"])
        since = to_datetime(max(book.time - KEEP_MS, 0))
        for found in await connection.fetch(_RECENT_ORDERS, account, since):
            order = rows.order_of(found)
            book.orders[order.client_order_id] = order
            key = (order.position_id, order.purpose)
            book.counts[key] = book.counts.get(key, 0) + 1
        # whoever asked for them is gone, so no answer will tell which of them arrived
        for found in await connection.fetch(_CANCELS, account):
            book.leaving.add(found["client_order_id"])
        await self._load_executions(connection, book, since)
        await self._load_positions(connection, book, since)
        await self._load_days(connection, book)
        for found in await connection.fetch("select * from marks where account = $1", account):
            symbol, quoted = found["symbol"], rows.optional_time(found["quoted_at"])
            book.prices[symbol] = (found["price"], from_datetime(found["marked_at"]))
            if quoted is not None:
                book.quotes[symbol] = Quote(
                    quoted, found["bid"], found["ask"], found["funding_rate"]
                )
        await self._load_results(connection, book)
        await fund_rows.load(connection, book)
        return book

    async def _load_positions(
        self, connection: asyncpg.Connection, book: Book, since: object
    ) -> None:
        found = await connection.fetch(
            f"select {rows.POSITION_COLUMNS} from positions where account = $1"  # noqa: S608
            " and (status = 'open' or closed_at >= $2) order by closed_at nulls last",
            self._account,
            since,
        )
        for row in found:
            position = rows.position_of(row)
            if position.closed_time is None:
                book.positions[position.symbol] = position
            else:
                book.closed[position.position_id] = position
                book.last_closed[position.symbol] = position.closed_time
        wanted = {p.position_id for p in book.positions.values()}
        wanted |= {o.position_id for o in book.orders.values()}
        wanted |= {e.position_id for e in book.executing.all.values()}
        for row in await connection.fetch(
            f"select {rows.PLAN_COLUMNS} from plans where position_id = any($1)",  # noqa: S608
            sorted(wanted),
        ):
            plan = rows.plan_of(row)
            book.plans[plan.position_id] = plan
        for row in await connection.fetch(
            f"select {rows.PROGRESS_COLUMNS} from protections"  # noqa: S608
            " where position_id = any($1)",
            sorted(wanted),
        ):
            progress = rows.progress_of(row)
            book.progress[progress.position_id] = progress

    async def _load_executions(
        self, connection: asyncpg.Connection, book: Book, since: object
    ) -> None:
        found = await connection.fetch(_RECENT_EXECUTIONS, self._account, since)
        for row in found:
            book.executing.put(execution_rows.execution_of(row))
        for row in await connection.fetch(
            f"select {execution_rows.VOLUME_COLUMNS} from volumes where account = $1",  # noqa: S608
            self._account,
        ):
            profile = execution_rows.volume_of(row)
            book.executing.volumes[profile.symbol] = profile

    async def _load_days(self, connection: asyncpg.Connection, book: Book) -> None:
        account = self._account
        told_again = to_datetime(book.recognised_from())
        for row in await connection.fetch(
            "select symbol, trade_id, client_order_id, commission, filled_at from fills"
            " where account = $1 and filled_at >= $2",
            account,
            told_again,
        ):
            book.seen_fills[row["symbol"], row["trade_id"]] = from_datetime(row["filled_at"])
            order = row["client_order_id"]
            if order in book.orders:
                paid = book.commissions.get(order, Decimal(0))
                book.commissions[order] = paid + row["commission"]
        for row in await connection.fetch(
            "select transaction_id, settled_at from funding"
            " where account = $1 and settled_at >= $2",
            account,
            told_again,
        ):
            book.seen_funding[row["transaction_id"]] = from_datetime(row["settled_at"])
        for row in await connection.fetch(
            "select * from daily_counters where account = $1 order by day desc limit 3", account
        ):
            day = row["day"].isoformat()
            book.days[day] = Day(
                day,
                row["start_equity"],
                row["pnl_usd"],
                row["trades"],
                row["opened"],
                row["losses"],
            )

    async def _load_results(self, connection: asyncpg.Connection, book: Book) -> None:
        """Read the safety level and the closed trades that sizing and limits look at."""
        level = await connection.fetchrow(
            "select level, since from safety_level where account = $1", self._account
        )
        if level is not None:
            book.safety = SafetyLevel(level["level"])
            book.safety_since = from_datetime(level["since"])
        for row in await connection.fetch(_RESULTS, self._account, KEPT):
            book.results.add(
                ClosedTrade(
                    from_datetime(row["closed_at"]),
                    row["position_id"],
                    row["symbol"],
                    row["pnl_usd"],
                    row["entry_cost"],
                )
            )
