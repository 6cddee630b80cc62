"""The account's truth in PostgreSQL: every change of one step in one fenced transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from services.exec_risk import rows
from services.exec_risk.book_reader import BookReader
from services.exec_risk.core import effects as fx
from services.exec_risk.core.inputs import ClosePosition, Command, SetTradingState, ValidateEntry
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.state import Book
from services.exec_risk.facts import encode
from services.exec_risk.seams import StoreUnavailable
from services.kit import outbox
from services.kit.db import TRANSIENT, Database
from services.kit.lease import Lease
from services.trade.order import Side
from services.trade.position import TradingState
from services.trade.times import to_datetime

_ORDER = rows.upsert("orders", rows.ORDER_COLUMNS, "client_order_id")
_POSITION = rows.upsert("positions", rows.POSITION_COLUMNS, "position_id")
_FILL = (
    f"insert into fills ({rows.FILL_COLUMNS})"  # noqa: S608 - names are ours
    " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) on conflict do nothing"
)
_PLAN = (
    f"insert into plans ({rows.PLAN_COLUMNS})"  # noqa: S608 - names are ours
    " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
    " on conflict do nothing"
)
_FUNDING = "insert into funding values ($1, $2, $3, $4, $5, $6) on conflict do nothing"
_DAY = """
insert into daily_counters values ($1, $2, $3, $4, $5)
on conflict (account, day) do update
set start_equity = excluded.start_equity, pnl_usd = excluded.pnl_usd, trades = excluded.trades
"""
_STATE = """
insert into trading_state values ($1, $2, $3, $4, $5)
on conflict (account) do update set state = excluded.state, reason = excluded.reason,
changed_by = excluded.changed_by, changed_at = excluded.changed_at
"""
_ACCOUNT = """
insert into account values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (account) do update set market_time = excluded.market_time,
wallet_balance = excluded.wallet_balance, unrealized_pnl = excluded.unrealized_pnl,
available_balance = excluded.available_balance, gross_exposure = excluded.gross_exposure,
last_round = excluded.last_round, in_sample = excluded.in_sample
"""
_MARKS = """
insert into marks select $1, *, $4 from unnest($2::text[], $3::numeric[])
on conflict (account, symbol) do update set price = excluded.price, marked_at = excluded.marked_at
"""
_ANSWER = """
update requests set answered_at = clock_timestamp(), ok = $3, result = $4
where account = $1 and request_id = $2 and answered_at is null
"""
_LEADER = """
insert into leader_status values ($1, $2, $3, $4, $5, $6, clock_timestamp())
on conflict (account) do update set instance = excluded.instance, connected = excluded.connected,
ready = excluded.ready, blocked_by = excluded.blocked_by, counters = excluded.counters,
updated_at = excluded.updated_at
"""


class PostgresStore:
    """The seam `Store` on PostgreSQL."""

    def __init__(self, database: Database, lease: Lease, account: str, venue: str) -> None:
        self._database = database
        self._lease = lease
        self._account = account
        self._venue = venue
        self._writers: dict[type, Callable[[Any, Any], Any]] = {
            fx.OrderChanged: lambda c, f: c.execute(_ORDER, *rows.order_values(f.order)),
            fx.FillRecorded: lambda c, f: c.execute(_FILL, *rows.fill_values(f)),
            fx.PositionOpened: self._write_position,
            fx.PositionChanged: self._write_position,
            fx.PositionClosed: self._write_position,
            fx.FundingPaid: self._write_funding,
            fx.StorePlan: lambda c, f: c.execute(_PLAN, *rows.plan_values(f.plan, account)),
            fx.StoreDay: self._write_day,
            fx.AccountSnapshot: self._write_account,
            fx.TradingStateChanged: self._write_state,
            fx.Answer: self._write_answer,
        }

    async def commit(self, changes: Sequence[fx.Change]) -> None:
        """Write all changes and their facts in one transaction bound to our token.

        Fenced when the lease was superseded: nothing is written. StoreUnavailable when the
        outcome is not known; repeating is harmless.
        """
        messages = [encode(c, self._account, self._venue) for c in _told(changes)]
        try:
            async with self._database.transaction() as connection:
                await self._lease.fence(connection)
                for change in _latest(changes):
                    writer = self._writers.get(type(change))
                    if writer is not None:
                        await writer(connection, change)
                await outbox.put(connection, messages)
        except TRANSIENT as error:
            raise StoreUnavailable(str(error)) from error

    async def write_status(
        self, *, connected: bool, ready: bool, blocked_by: str, counters: dict[str, float]
    ) -> None:
        """Tell the other replicas what only the leader sees."""
        try:
            async with self._database.transaction() as connection:
                await self._lease.fence(connection)
                await connection.execute(
                    _LEADER,
                    self._account,
                    self._lease.owner,
                    connected,
                    ready,
                    blocked_by,
                    json.dumps(counters),
                )
        except TRANSIENT as error:
            raise StoreUnavailable(str(error)) from error

    async def requests(self) -> list[Command]:
        """Read what operators asked and nobody has answered, oldest first."""
        try:
            found = await self._database.pool.fetch(
                "select request_id, kind, arguments from requests"
                " where account = $1 and answered_at is null order by created_at, request_id",
                self._account,
            )
        except TRANSIENT as error:
            raise StoreUnavailable(str(error)) from error
        return [_command(r["request_id"], r["kind"], json.loads(r["arguments"])) for r in found]

    async def load(self, policy: Policy) -> Book:
        """Read the account back as the last commit left it."""
        try:
            async with self._database.transaction() as connection:
                await self._lease.fence(connection)
                return await BookReader(self._account).read(connection, policy)
        except TRANSIENT as error:
            raise StoreUnavailable(str(error)) from error

    async def _write_position(self, connection: Any, fact: Any) -> None:
        await connection.execute(_POSITION, *rows.position_values(fact.position))

    async def _write_funding(self, connection: Any, fact: fx.FundingPaid) -> None:
        await connection.execute(
            _FUNDING,
            self._account,
            fact.transaction_id,
            fact.symbol,
            fact.position_id,
            fact.amount,
            to_datetime(fact.time),
        )

    async def _write_day(self, connection: Any, day: fx.StoreDay) -> None:
        when = date.fromisoformat(day.day)
        await connection.execute(_DAY, self._account, when, day.start_equity, day.pnl, day.trades)

    async def _write_account(self, connection: Any, fact: fx.AccountSnapshot) -> None:
        moment = to_datetime(fact.time)
        await connection.execute(
            _ACCOUNT,
            self._account,
            moment,
            fact.wallet_balance,
            fact.unrealized_pnl,
            fact.available_balance,
            fact.gross_exposure,
            to_datetime(fact.last_round) if fact.last_round else None,
            fact.in_sample,
        )
        if fact.prices:
            symbols = sorted(fact.prices)
            values: list[Decimal] = [fact.prices[s] for s in symbols]
            await connection.execute(_MARKS, self._account, symbols, values, moment)

    async def _write_state(self, connection: Any, fact: fx.TradingStateChanged) -> None:
        await connection.execute(
            _STATE,
            self._account,
            fact.state.value,
            fact.reason,
            fact.changed_by,
            to_datetime(fact.time),
        )

    async def _write_answer(self, connection: Any, answer: fx.Answer) -> None:
        result = json.dumps(answer.result)
        await connection.execute(_ANSWER, self._account, answer.request_id, answer.ok, result)


def _told(changes: Sequence[fx.Change]) -> list[fx.Fact | fx.AccountSnapshot]:
    found: list[fx.Fact | fx.AccountSnapshot] = []
    for change in changes:
        if isinstance(change, fx.AccountSnapshot):
            if change.published:
                found.append(change)
        elif isinstance(change, fx.FACTS):
            found.append(change)
    return found


def _latest(changes: Sequence[fx.Change]) -> list[fx.Change]:
    """Leave out what a later change of the same transaction overwrites."""
    seen: set[object] = set()
    kept: list[fx.Change] = []
    for change in reversed(changes):
        key = _overwrites(change)
        if key is not None and key in seen:
            continue
        seen.add(key)
        kept.append(change)
    return kept[::-1]


def _overwrites(change: fx.Change) -> object:
    match change:
        case fx.OrderChanged(order=order):
            return ("order", order.client_order_id)
        case fx.PositionOpened() | fx.PositionChanged() | fx.PositionClosed():
            return ("position", change.position.position_id)
        case fx.StoreDay(day=day):
            return ("day", day)
        case _:
            return None


def _command(request_id: str, kind: str, arguments: dict[str, str]) -> Command:
    if kind == "set_trading_state":
        state = TradingState(arguments["state"])
        return SetTradingState(request_id, state, arguments["reason"], arguments["changed_by"])
    if kind == "close_position":
        return ClosePosition(request_id, arguments["symbol"])
    if kind == "validate_entry":
        return ValidateEntry(
            request_id,
            arguments["symbol"],
            Side(arguments["side"]),
            Decimal(arguments["size_usd"]),
            int(arguments["leverage"]),
        )
    raise ValueError(f"request {request_id}: unknown kind {kind!r}")
