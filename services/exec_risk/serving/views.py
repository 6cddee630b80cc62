"""What every replica can tell, read from PostgreSQL; and requests that the leader answers."""

from __future__ import annotations

import base64
import binascii
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg

from services.catalog.subjects import HEADER_TRACE
from services.exec_risk.database import execution_rows, fund_rows, rows
from services.exec_risk.database.commit_statement import ANSWERS_CHANNEL
from services.exec_risk.tracing.step_spans import StepSpans
from services.kit.clock import Clock
from services.kit.errors import AlreadyExists, InvalidArgument, Unavailable
from services.kit.observe.trace_context import outgoing_headers
from services.kit.postgres.db import TRANSIENT, Database
from services.kit.postgres.notify import Bell, Notifications
from services.trade.execution import Execution
from services.trade.fund_policy import FundPolicy
from services.trade.order import Order
from services.trade.position import Position, SafetyLevel, TradingState
from services.trade.times import from_datetime, utc_day

_FRESH = timedelta(seconds=10)
_LIVE = "state not in ('FILLED', 'CANCELED', 'REJECTED', 'EXPIRED')"


@dataclass(frozen=True, slots=True)
class AccountView:
    """The account's numbers as stored."""

    time: int
    wallet: Decimal | None
    unrealized: Decimal
    available: Decimal | None
    exposure: Decimal
    daily_pnl: Decimal
    daily_trades: int
    open_positions: int
    state: TradingState
    in_sample: bool
    latched: bool
    safety: SafetyLevel


@dataclass(frozen=True, slots=True)
class LeaderView:
    """What the leader told last; not fresh when it has been silent."""

    instance: str = ""
    connected: bool = False
    ready: bool = False
    blocked_by: str = "no_leader"
    fresh: bool = False


class Views:
    """Reads of one account."""

    def __init__(
        self,
        database: Database,
        account: str,
        clock: Clock,
        notifications: Notifications,
        spans: StepSpans | None = None,
    ) -> None:
        self._spans = spans
        self._database = database
        self._account = account
        self._clock = clock
        self._notifications = notifications

    async def positions(
        self, status: str, symbol: str, size: int, token: str
    ) -> tuple[list[Position], str]:
        """Return one page of positions, the newest first, and the next page's token."""
        found, following = await self._page(
            f"select {rows.POSITION_COLUMNS} from positions where account = $1"  # noqa: S608
            " and ($2 = '' or status = $2) and ($3 = '' or symbol = $3)"
            " and ($4::timestamptz is null or (opened_at, position_id) < ($4, $5))"
            " order by opened_at desc, position_id desc limit $6",
            (status, symbol),
            size,
            token,
            ("opened_at", "position_id"),
        )
        return [rows.position_of(r) for r in found], following

    async def orders(
        self, open_only: bool, symbol: str, size: int, token: str
    ) -> tuple[list[Order], str]:
        """Return one page of orders, the newest first, and the next page's token."""
        found, following = await self._page(
            f"select {rows.ORDER_COLUMNS} from orders where account = $1"  # noqa: S608
            f" and (not $2::boolean or {_LIVE}) and ($3 = '' or symbol = $3)"
            " and ($4::timestamptz is null or (decided_at, client_order_id) < ($4, $5))"
            " order by decided_at desc, client_order_id desc limit $6",
            (open_only, symbol),
            size,
            token,
            ("decided_at", "client_order_id"),
        )
        return [rows.order_of(r) for r in found], following

    async def order(self, client_order_id: str) -> Order | None:
        """Return one order."""
        row = await self._row(
            f"select {rows.ORDER_COLUMNS} from orders where client_order_id = $1",  # noqa: S608
            client_order_id,
        )
        return None if row is None else rows.order_of(row)

    async def execution(self, execution_id: str) -> Execution | None:
        """Return one execution."""
        row = await self._row(
            f"select {execution_rows.EXECUTION_COLUMNS} from executions"  # noqa: S608
            " where execution_id = $1",
            execution_id,
        )
        return None if row is None else execution_rows.execution_of(row)

    async def marks(self) -> dict[str, Decimal]:
        """Return the last stored price of each symbol."""
        found = await self._rows(
            "select symbol, price from marks where account = $1", self._account
        )
        return {r["symbol"]: r["price"] for r in found}

    async def account(self) -> AccountView | None:
        """Return the account's numbers; None before the first leader has written them."""
        row = await self._row("select * from account where account = $1", self._account)
        if row is None:
            return None
        time = from_datetime(row["market_time"])
        day = await self._row(
            "select pnl_usd, trades from daily_counters where account = $1"
            " and day = $2::text::date",
            self._account,
            utc_day(time),
        )
        state = await self._row("select state from trading_state where account = $1", self._account)
        held = await self._row(
            "select count(*) as n from positions where account = $1 and status = 'open'",
            self._account,
        )
        switches = await self._row(
            "select (select latched from emergency_latch where account = $1) as latched,"
            " (select level from safety_level where account = $1) as level",
            self._account,
        )
        return AccountView(
            time=time,
            wallet=row["wallet_balance"],
            unrealized=row["unrealized_pnl"],
            available=row["available_balance"],
            exposure=row["gross_exposure"],
            daily_pnl=day["pnl_usd"] if day else Decimal(0),
            daily_trades=day["trades"] if day else 0,
            open_positions=held["n"] if held else 0,
            state=TradingState(state["state"]) if state else TradingState.ACTIVE,
            in_sample=row["in_sample"],
            latched=bool(switches["latched"]),
            safety=SafetyLevel(switches["level"] or SafetyLevel.NORMAL),
        )

    async def leader(self) -> LeaderView:
        """Return what the leader told last."""
        row = await self._row("select * from leader_status where account = $1", self._account)
        if row is None or self._clock.now() - row["updated_at"] > _FRESH:
            return LeaderView()
        return LeaderView(
            row["instance"], row["connected"], row["ready"], row["blocked_by"], fresh=True
        )

    async def fund_policy(self) -> FundPolicy | None:
        """Return the version of the fund's policy that holds at the account's market time."""
        row = await self._row(
            "select policy from fund_policies where account = $1 and effective_from <= coalesce("
            "(select market_time from account where account = $1), effective_from)"
            " order by version desc limit 1",
            self._account,
        )
        return None if row is None else fund_rows.policy_of(row["policy"])

    async def ask_leader(
        self, request_id: str, kind: str, arguments: dict[str, str], *, wait_seconds: float
    ) -> tuple[bool, dict[str, str]]:
        """Ask the leader and return its answer; a repeated id gets the first answer.

        AlreadyExists when the id was used for something else, Unavailable when nobody answered.
        """
        bell = self._notifications.bell(f"{self._account}:{request_id}")
        try:
            with self._asking(request_id, kind):
                await self._ask(request_id, kind, arguments)
                return await self._answer(request_id, bell, wait_seconds)
        finally:
            self._notifications.drop(bell)

    def _asking(self, request_id: str, kind: str) -> AbstractContextManager[None]:
        return nullcontext() if self._spans is None else self._spans.asking(request_id, kind)

    async def _ask(self, request_id: str, kind: str, arguments: dict[str, str]) -> None:
        row = await self._row(
            "with asked as ("
            "insert into requests (account, request_id, kind, arguments, traceparent)"
            " values ($1, $2, $3, $4, $6)"
            # who asks again keeps an unanswered request alive; the leader leaves old ones alone
            " on conflict (account, request_id) do update set created_at ="
            " case when requests.answered_at is null then clock_timestamp()"
            " else requests.created_at end"
            " returning kind, arguments"
            ") select kind, arguments, pg_notify($5, $1) from asked",
            self._account,
            request_id,
            kind,
            json.dumps(arguments, sort_keys=True),
            ANSWERS_CHANNEL,
            outgoing_headers().get(HEADER_TRACE),
        )
        assert row is not None  # noqa: S101 - the statement returns its row
        if row["kind"] != kind or json.loads(row["arguments"]) != arguments:
            raise AlreadyExists(f"request_id {request_id} was used for another request")

    async def _answer(
        self, request_id: str, bell: Bell, wait_seconds: float
    ) -> tuple[bool, dict[str, str]]:
        deadline = self._clock.monotonic() + wait_seconds
        while (left := deadline - self._clock.monotonic()) > 0:
            answer = await self._row(
                "select ok, result from requests where account = $1 and request_id = $2"
                " and answered_at is not null",
                self._account,
                request_id,
            )
            if answer is not None:
                return bool(answer["ok"]), dict(json.loads(answer["result"]))
            await bell.wait(left)
        raise Unavailable(
            f"no leader of account {self._account} answered within {wait_seconds} s;"
            " repeat with the same request_id",
            reason="NO_LEADER",
            retry_seconds=2.0,
        )

    async def _page(
        self,
        statement: str,
        conditions: tuple[Any, Any],
        size: int,
        token: str,
        keys: tuple[str, str],
    ) -> tuple[list[Any], str]:
        size = size or 50
        moment, name = _read_token(token)
        found = await self._rows(statement, self._account, *conditions, moment, name, size + 1)
        if len(found) <= size:
            return found, ""
        last = found[size - 1]
        return found[:size], _token(last[keys[0]], last[keys[1]])

    async def _rows(self, statement: str, *values: Any) -> list[Any]:
        try:
            return list(await self._database.pool.fetch(statement, *values))
        except TRANSIENT as error:
            raise Unavailable("the database does not answer", retry_seconds=1.0) from error
        except asyncpg.DataError as error:
            # for example a NUL character, which PostgreSQL cannot hold
            raise InvalidArgument(f"a value cannot be asked for: {error}") from error

    async def _row(self, statement: str, *values: Any) -> Any:
        found = await self._rows(statement, *values)
        return found[0] if found else None


def _token(moment: datetime, name: str) -> str:
    return base64.urlsafe_b64encode(f"{from_datetime(moment)} {name}".encode()).decode()


def _read_token(token: str) -> tuple[datetime | None, str]:
    if not token:
        return None, ""
    try:
        time, name = base64.urlsafe_b64decode(token.encode()).decode().split(" ", 1)
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(time)), name
    except (binascii.Error, ValueError, OverflowError) as error:
        raise InvalidArgument.of("page_token", "is none that a page gave") from error
