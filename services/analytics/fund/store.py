"""What the fund's layers read of the ledger and write of their decisions, in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from quantum.analytics.v1 import policy_pb2 as pb

from services.analytics.core.fund.memory import Memory, Seen
from services.analytics.core.fund.rounds import FundDecision
from services.analytics.core.fund.view import HOUR_MS, FundView, Holding
from services.analytics.ledger.rows import trade_from_row
from services.analytics.policy.facts import fact
from services.catalog.events import DIRECTIVE_ISSUED, PORTFOLIO_BALANCE, PROFIT_AMPLIFICATION
from services.kit.bus.message import Outgoing
from services.kit.postgres import outbox
from services.trade.codec import decimal_to_pb, enum_to_pb, time_to_pb
from services.trade.fund_policy import Directive
from services.trade.policy_codec import directive_to_pb
from services.trade.times import from_datetime, to_datetime

_ROUND = """
select data from events where type = 'round.decided' and timestamp = $1 and subject = $2
"""
_OPEN = "select * from trades where account = $1 and status = 'open' order by symbol"
_STOP = """
select data ->> 'stop_loss_price' as stop, data ->> 'entry_price' as entry from events
where type = 'position.opened' and timestamp = $1 and data ->> 'position_id' = $2
"""
_RESULTS = """
select net_pnl, closed_time from trades
where account = $1 and status = 'closed' and closed_time > $2 and closed_time <= $3
order by closed_time desc, position_id
"""
_STATE = "select round_time, state from fund_state where account = $1 for update"
_KEEP = """
insert into fund_state (account, round_time, state) values ($1, $2, $3)
on conflict (account) do update set round_time = excluded.round_time, state = excluded.state
"""
_ISSUE = """
insert into directives (directive_id, account, layer, action, symbol, position_id, share, reasons,
    decided_at, effective_from, deadline)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict (directive_id) do nothing
"""
_HOURS = 24


@dataclass(frozen=True, slots=True)
class Kept:
    """What the last round left."""

    memory: Memory
    round_time: int


async def decided(connection: Any, account: str) -> int:
    """Return the market time of the last decided round; 0 before the first."""
    found = await connection.fetchval(
        "select round_time from fund_state where account = $1", account
    )
    return 0 if found is None else from_datetime(found)


async def load(connection: Any, account: str) -> Kept:
    """Return what the last round left, locked until the transaction ends."""
    row = await connection.fetchrow(_STATE, account)
    if row is None:
        return Kept(Memory(), 0)
    return Kept(memory_of(json.loads(row["state"])), from_datetime(row["round_time"]))


async def view_of(
    connection: Any, account: str, time: int, *, health: int, memory: Memory
) -> FundView | None:
    """Return the account at a round; None when the ledger does not hold it or equity is unknown."""
    subject = f"quantum.events.round.decided.{account}.round"
    text = await connection.fetchval(_ROUND, to_datetime(time), subject)
    told = json.loads(text) if text else {}
    if not told.get("equity"):
        return None
    closes = {symbol: Decimal(close) for symbol, close in told.get("closes", {}).items()}
    last = {symbol: known[-1] for symbol, known in memory.closes.items() if known} | closes
    holdings = []
    for row in await connection.fetch(_OPEN, account):
        position = trade_from_row(row).position
        entry = position.entry_price
        if entry is None or not position.quantity:
            continue
        holdings.append(
            Holding(
                position_id=position.position_id,
                symbol=position.symbol,
                side=position.side,
                quantity=position.quantity,
                entry_price=entry,
                mark=last.get(position.symbol, entry),
                opened_time=position.opened_time,
                risk_fraction=await _risk(connection, row["opened_time"], position.position_id),
            )
        )
    trades, net, losses = await _results(connection, account, time)
    return FundView(
        account=account,
        time=time,
        equity=Decimal(told["equity"]),
        holdings=tuple(holdings),
        closes=closes,
        trades=trades,
        net=net,
        losses_in_a_row=losses,
        health=health,
    )


async def _risk(connection: Any, opened: Any, position_id: str) -> Decimal:
    row = await connection.fetchrow(_STOP, opened, position_id)
    if row is None or not row["stop"] or not row["entry"]:
        return Decimal(0)
    entry = Decimal(row["entry"])
    return abs(entry - Decimal(row["stop"])) / entry if entry > 0 else Decimal(0)


async def _results(connection: Any, account: str, time: int) -> tuple[int, Decimal, int]:
    since, now = to_datetime(max(time - _HOURS * HOUR_MS, 0)), to_datetime(time)
    rows = await connection.fetch(_RESULTS, account, since, now)
    losses = 0
    for row in rows:
        if row["net_pnl"] > 0 or from_datetime(row["closed_time"]) <= time - HOUR_MS:
            break
        losses += 1
    return len(rows), sum((row["net_pnl"] for row in rows), Decimal(0)), losses


async def keep(connection: Any, view: FundView, decision: FundDecision, asked: list[str]) -> None:
    """Write what a round decided, with its facts, in the caller's transaction."""
    state = json.dumps(memory_to_json(decision.memory))
    await connection.execute(_KEEP, view.account, to_datetime(view.time), state)
    for directive in decision.directives:
        await connection.execute(_ISSUE, *_row(directive))
    await outbox.put(connection, facts_of(view, decision, asked))


def _row(directive: Directive) -> Sequence[Any]:
    return (
        directive.directive_id,
        directive.account,
        directive.layer.value,
        directive.action.value,
        directive.symbol,
        directive.position_id,
        directive.share,
        list(directive.reasons),
        to_datetime(directive.decided_at),
        to_datetime(directive.effective_from),
        to_datetime(directive.deadline),
    )


def facts_of(view: FundView, decision: FundDecision, asked: list[str]) -> list[Outgoing]:
    """Return the facts of a round; the policy's own come from its store."""
    account, time = view.account, view.time
    found = [
        fact(DIRECTIVE_ISSUED, directive_to_pb(d), account, d.symbol, time, d.directive_id)
        for d in decision.directives
    ]
    if decision.balance is not None:
        balance = pb.PortfolioBalance(
            account=account,
            equity_usd=decimal_to_pb(view.equity),
            gross_exposure_usd=decimal_to_pb(view.gross),
            net_exposure_usd=decimal_to_pb(view.net_exposure),
            violations=decision.balance.violations,
            directive_ids=[d.directive_id for d in decision.directives if d.layer == "PBA"],
            reasons=asked,
            time=time_to_pb(time),
        )
        found.append(fact(PORTFOLIO_BALANCE, balance, account, account, time, time))
    issued = {d.position_id: d for d in decision.directives if d.layer == "PAL"}
    for each in decision.amplifications:
        holding = each.holding
        directive = issued.get(holding.position_id)
        told = pb.ProfitAmplification(
            account=account,
            symbol=holding.symbol,
            position_id=holding.position_id,
            classification=each.kind.value,
            action=enum_to_pb(each.action),
            directive_id=directive.directive_id if directive else "",
            profit_r=decimal_to_pb(holding.profit_r),
            score=each.score,
            blocked_by=each.blocked_by,
            reasons=each.reasons,
            time=time_to_pb(time),
        )
        key = (holding.position_id, each.action.value, time)
        found.append(fact(PROFIT_AMPLIFICATION, told, account, holding.symbol, time, *key))
    return found


def memory_to_json(memory: Memory) -> dict[str, Any]:
    """Write the memory for its column."""
    return {
        "round_time": memory.round_time,
        "peaks": [[hour, str(equity)] for hour, equity in memory.peaks],
        "closes": {s: [str(c) for c in closes] for s, closes in memory.closes.items()},
        "positions": {
            name: {"peak_r": str(s.peak_r), "done": list(s.done), "reduced_at": s.reduced_at}
            for name, s in memory.positions.items()
        },
        "asked_mode": memory.asked_mode,
        "asked_since": memory.asked_since,
    }


def memory_of(found: Mapping[str, Any]) -> Memory:
    """Read it back."""
    return Memory(
        round_time=found["round_time"],
        peaks=tuple((hour, Decimal(equity)) for hour, equity in found["peaks"]),
        closes={s: tuple(Decimal(c) for c in closes) for s, closes in found["closes"].items()},
        positions={
            name: Seen(Decimal(s["peak_r"]), tuple(s["done"]), s["reduced_at"])
            for name, s in found["positions"].items()
        },
        asked_mode=found["asked_mode"],
        asked_since=found["asked_since"],
    )
