"""The venue's own account history, and a report held to it to the cent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.trade.times import from_datetime
from tests.support.stack import Stack

CENT = Decimal("0.01")
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class History:
    """What the venue says an account did before a market time."""

    gross: Decimal
    commission: Decimal
    funding: Decimal
    fills: int


async def of_venue(stack: Stack, until: int) -> History:
    """Add up the venue's trades and funding before a market time."""
    trades = [t for t in await _trades(stack) if t["time"] < until]
    funding = [f for f in await _funding(stack) if f["time"] < until]
    return History(
        gross=sum((Decimal(t["realizedPnl"]) for t in trades), Decimal(0)),
        commission=sum((Decimal(t["commission"]) for t in trades), Decimal(0)),
        funding=sum((Decimal(f["income"]) for f in funding), Decimal(0)),
        fills=len(trades),
    )


async def _trades(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    exchange = await stack.venue("/fapi/v1/exchangeInfo")
    for symbol in (s["symbol"] for s in exchange["symbols"]):
        page = await stack.venue("/fapi/v1/userTrades", symbol=symbol, limit=_PAGE, fromId=0)
        found += page
        while len(page) == _PAGE:
            last = page[-1]["id"]  # ids do not grow, so the next page begins with this one
            page = await stack.venue("/fapi/v1/userTrades", symbol=symbol, limit=_PAGE, fromId=last)
            found += page[1:]
    return found


async def _funding(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    start = 1
    while True:
        page = await stack.venue(
            "/fapi/v1/income", incomeType="FUNDING_FEE", limit=_PAGE, startTime=start
        )
        known = {f["tranId"] for f in found}
        fresh = [f for f in page if f["tranId"] not in known]
        found += fresh
        if len(page) < _PAGE or not fresh:
            return found
        start = page[-1]["time"]


async def assert_report_equals_venue(stack: Stack) -> dict[str, Any]:
    """Hold the report of everything up to the last recorded round to the venue; return it."""
    async with stack.database() as connection:
        decided: datetime = await connection.fetchval(
            "select max(timestamp) from analytics.events where type = 'round.decided'"
        )
    end = decided.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    report: dict[str, Any] = stack.json("report", "--from=2000-01-01", f"--to={end}")
    history = await of_venue(stack, from_datetime(decided))
    flows = report["flows"]
    assert flows["fills"] == history.fills > 0
    assert Decimal(flows["commission"]) == history.commission
    assert Decimal(flows["funding"] or 0) == history.funding
    assert abs(Decimal(flows["gross_pnl"]) - history.gross) < CENT
    net = history.gross - history.commission + history.funding
    assert abs(Decimal(flows["net_pnl"]) - net) < CENT
    for check in report["checks"]:
        assert check["agrees"], check
    total = report["total"]
    for part in ("by_day", "by_hour", "by_symbol", "by_model", "by_exit"):
        summed = sum((Decimal(g["net_pnl"]) for g in report[part]), Decimal(0))
        assert summed == Decimal(total["net_pnl"]), part
    return report
