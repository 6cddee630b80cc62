"""One statement that commits a step: the fence, every changed row, the facts.

A step that took a round trip a row would hold up the orders that wait for its commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date
from functools import cache
from typing import Any

from services.exec_risk.core import effects as fx
from services.exec_risk.database import execution_rows, fund_rows, rows
from services.kit.postgres import lease, outbox
from services.trade.times import to_datetime

_FUNDING_COLUMNS = "account, transaction_id, symbol, position_id, amount, settled_at"
_CANCEL_COLUMNS = "account, client_order_id"
_DAY_COLUMNS = "account, day, start_equity, pnl_usd, trades, opened, losses"
_STATE_COLUMNS = "account, state, reason, changed_by, changed_at"
_ACCOUNT_COLUMNS = (
    "account, market_time, wallet_balance, unrealized_pnl, available_balance, gross_exposure,"
    " last_round, in_sample, high_water, begun_at, read_at"
)
_MARK_COLUMNS = "account, symbol, price, marked_at, bid, ask, funding_rate, quoted_at"
_SAFETY_COLUMNS = "account, level, reason, since"
_LATCH_COLUMNS = "account, latched, reason, latched_by, latched_at, request_id"
_ANSWER_COLUMNS = "account, request_id, ok, result"

_TABLES: dict[str, tuple[str, str, str]] = {
    "orders": (rows.ORDER_COLUMNS, "client_order_id", "where t.version < excluded.version"),
    "positions": (rows.POSITION_COLUMNS, "position_id", "where t.version < excluded.version"),
    "executions": (
        execution_rows.EXECUTION_COLUMNS,
        "execution_id",
        "where t.version < excluded.version",
    ),
    "volumes": (execution_rows.VOLUME_COLUMNS, "account, symbol", ""),
    "plans": (rows.PLAN_COLUMNS, "", ""),
    "protections": (rows.PROGRESS_COLUMNS, "position_id", "where t.version < excluded.version"),
    "cancels": (_CANCEL_COLUMNS, "", ""),
    "fills": (rows.FILL_COLUMNS, "", ""),
    "funding": (_FUNDING_COLUMNS, "", ""),
    "daily_counters": (_DAY_COLUMNS, "account, day", ""),
    "trading_state": (_STATE_COLUMNS, "account", ""),
    "emergency_latch": (_LATCH_COLUMNS, "account", ""),
    "safety_level": (_SAFETY_COLUMNS, "account", ""),
    "account": (_ACCOUNT_COLUMNS, "account", ""),
    "marks": (_MARK_COLUMNS, "account, symbol", ""),
    "fund_policies": (fund_rows.POLICY_COLUMNS, "", ""),
    "directives_answered": (fund_rows.DIRECTIVE_COLUMNS, "", ""),
}
"""Columns, key and condition of the update by table; without a key what is there is kept."""
_ANSWERS = "requests"
ANSWERS_CHANNEL = "exec_risk_requests"
"""Channel of PostgreSQL: an account when it was asked, `account:request_id` when answered."""


@cache
def _names(columns: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in columns.split(","))


class Changes:
    """Rows of one transaction by table and key: of two writes to a row the later one counts."""

    def __init__(self, account: str, changes: Iterable[fx.Change]) -> None:
        self._account = account
        self._rows: dict[str, dict[object, dict[str, Any]]] = {t: {} for t in (*_TABLES, _ANSWERS)}
        for change in changes:
            self._add(change)

    def arguments(self) -> list[str]:
        """Return the statement's arguments from the third on: the rows of each table as JSON."""
        return [
            json.dumps(list(found.values()), default=str) if found else "[]"
            for found in self._rows.values()
        ]

    def _put(self, table: str, key: object, columns: str, values: Sequence[Any]) -> None:
        # a row that is written again goes to the end: one position closes before the next opens
        self._rows[table].pop(key, None)
        self._rows[table][key] = dict(zip(_names(columns), values, strict=True))

    def _add(self, change: fx.Change) -> None:
        account = self._account
        match change:
            case fx.OrderChanged(order=order):
                values = rows.order_values(order)
                self._put("orders", order.client_order_id, rows.ORDER_COLUMNS, values)
            case fx.PositionOpened() | fx.PositionChanged() | fx.PositionClosed():
                position = change.position
                values = rows.position_values(position)
                self._put("positions", position.position_id, rows.POSITION_COLUMNS, values)
            case fx.FillRecorded(fill=fill):
                key = (fill.symbol, fill.trade_id)
                self._put("fills", key, rows.FILL_COLUMNS, rows.fill_values(change))
            case fx.ExecutionChanged(execution=execution):
                values = execution_rows.execution_values(execution)
                columns = execution_rows.EXECUTION_COLUMNS
                self._put("executions", execution.execution_id, columns, values)
            case fx.StoreVolumes():
                for profile in change.profiles:
                    values = execution_rows.volume_values(profile, account)
                    self._put("volumes", profile.symbol, execution_rows.VOLUME_COLUMNS, values)
            case fx.StorePlan(plan=plan):
                values = rows.plan_values(plan, account)
                self._put("plans", plan.position_id, rows.PLAN_COLUMNS, values)
            case fx.StoreProgress(progress=progress):
                values = rows.progress_values(progress, account)
                self._put("protections", progress.position_id, rows.PROGRESS_COLUMNS, values)
            case fx.StoreCancel(client_order_id=order_id):
                self._put("cancels", order_id, _CANCEL_COLUMNS, (account, order_id))
            case fx.StoreFundPolicy(policy=policy):
                values = fund_rows.policy_values(policy, account)
                self._put("fund_policies", policy.version, fund_rows.POLICY_COLUMNS, values)
            case fx.DirectiveApplied():
                values = fund_rows.answered_values(change, account)
                columns = fund_rows.DIRECTIVE_COLUMNS
                self._put("directives_answered", change.directive_id, columns, values)
            case fx.FundingPaid():
                self._put_funding(change)
            case fx.StoreDay():
                values = (
                    account,
                    date.fromisoformat(change.day),
                    change.start_equity,
                    change.pnl,
                    change.trades,
                    change.opened,
                    change.losses,
                )
                self._put("daily_counters", change.day, _DAY_COLUMNS, values)
            case fx.AccountSnapshot():
                self._put_account(change)
            case fx.TradingStateChanged():
                when = to_datetime(change.time)
                values = (account, change.state.value, change.reason, change.changed_by, when)
                self._put("trading_state", account, _STATE_COLUMNS, values)
            case fx.SafetyLevelChanged():
                when = to_datetime(change.time)
                values = (account, change.level.value, change.reason, when)
                self._put("safety_level", account, _SAFETY_COLUMNS, values)
            case fx.EmergencyStopped() | fx.EmergencyReset():
                self._put_latch(change.latch, latched=isinstance(change, fx.EmergencyStopped))
            case fx.Answer():
                values = (account, change.request_id, change.ok, change.result)
                self._put(_ANSWERS, change.request_id, _ANSWER_COLUMNS, values)
            case _:
                return  # a fact without a row of its own

    def _put_funding(self, fact: fx.FundingPaid) -> None:
        values = (
            self._account,
            fact.transaction_id,
            fact.symbol,
            fact.position_id,
            fact.amount,
            to_datetime(fact.time),
        )
        self._put("funding", fact.transaction_id, _FUNDING_COLUMNS, values)

    def _put_latch(self, latch: fx.Latch, *, latched: bool) -> None:
        when = to_datetime(latch.time)
        values = (self._account, latched, latch.reason, latch.by, when, latch.request_id)
        self._put("emergency_latch", self._account, _LATCH_COLUMNS, values)

    def _put_account(self, fact: fx.AccountSnapshot) -> None:
        moment = to_datetime(fact.time)
        values = (
            self._account,
            moment,
            fact.wallet_balance,
            fact.unrealized_pnl,
            fact.available_balance,
            fact.gross_exposure,
            to_datetime(fact.last_round) if fact.last_round else None,
            fact.in_sample,
            fact.high_water,
            to_datetime(fact.begun_time) if fact.begun_time else None,
            to_datetime(fact.read_time) if fact.read_time else None,
        )
        self._put("account", self._account, _ACCOUNT_COLUMNS, values)
        for symbol, price in sorted(fact.prices.items()):
            quote = fact.quotes.get(symbol)
            told = (
                (quote.bid, quote.ask, quote.funding_rate, to_datetime(quote.time))
                if quote
                else (None, None, None, None)
            )
            mark = (self._account, symbol, price, moment, *told)
            self._put("marks", symbol, _MARK_COLUMNS, mark)


def _upsert(table: str, place: int) -> str:
    columns, key, condition = _TABLES[table]
    keys = _names(key)
    updates = ", ".join(f"{n} = excluded.{n}" for n in _names(columns) if n not in keys)
    conflict = f"({key}) do update set {updates} {condition}" if key else "do nothing"
    return (
        f"put_{table} as (insert into {table} as t ({columns}) select {columns}"  # noqa: S608 - ours
        f" from fence, jsonb_populate_recordset(null::{table}, ${place}::jsonb)"
        f" on conflict {conflict})"
    )


def _statement() -> str:
    first = 3
    puts = [_upsert(table, first + i) for i, table in enumerate(_TABLES)]
    answers = first + len(_TABLES)
    return f"""
with fence as materialized ({lease.FENCE}),
{", ".join(puts)},
put_answers as (
    update requests as r set answered_at = clock_timestamp(), ok = a.ok, result = a.result
    from fence, jsonb_populate_recordset(null::requests, ${answers}::jsonb) as a
    where r.account = a.account and r.request_id = a.request_id and r.answered_at is null
    returning pg_notify('{ANSWERS_CHANNEL}', r.account || ':' || r.request_id)
),
told as ({outbox.insert("fence", answers + 1)})
select held.yes, told.id, told.message_id, switch.state,
    latch.reason as latch_reason, latch.latched_by, latch.latched_at
from (select exists (select from fence) as yes) as held
left join told on true
left join (select state from trading_state where account = ${answers + 5}) as switch on true
left join (
    select reason, latched_by, latched_at from emergency_latch where account = ${answers + 5}
    and latched
) as latch on true
"""  # noqa: S608 - all names are ours


COMMIT = _statement()
"""Arguments: resource, token, `Changes.arguments()`, `outbox.arguments()`, account.

Nothing is written unless the fence holds. Returns whether it held, the new outbox rows, and the
trading state and the latch as they stood before this statement, so that a switch that was moved in
the database itself acts with the next write.
"""
