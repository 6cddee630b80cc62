"""Reads the whole account for reconciliation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from services.exec_risk.core.exchange_events import (
    AccountReport,
    ExchangeSnapshot,
    FundingReport,
    OrderReport,
)
from services.exec_risk.exchange import endpoints, parse
from services.exec_risk.exchange.requests import ExchangeUnavailable, Params, Requests
from services.exec_risk.exchange.settings import ExchangeSettings
from services.trade.order import Fill
from services.trade.times import DAY_MS

PAGE = 1_000
PARALLEL_READS = 4
WINDOW_MS = 7 * DAY_MS
"""Binance reads trades only within seven days at a time, and keeps them for six months."""
KEPT_MS = 180 * DAY_MS


class SnapshotReader:
    """Reads account, orders, fills and funding, each page by page until the end."""

    def __init__(self, requests: Requests, settings: ExchangeSettings) -> None:
        self._requests = requests
        self._settings = settings
        self._client_ids: dict[tuple[str, str], str] = {}
        self._gate = asyncio.Semaphore(PARALLEL_READS)

    def remember(self, report: OrderReport) -> None:
        """Keep whose order an exchange id is: entries of userTrades do not say it."""
        key = (report.symbol, report.exchange_order_id)
        self._client_ids[key] = report.client_order_id

    async def read(
        self, since: int, now: int, symbols: Iterable[str], *, hedge: bool
    ) -> ExchangeSnapshot:
        """Read everything; fills of these symbols and of all that hold positions or orders.

        `now` is the newest known market time. Raises ExchangeRefused, ExchangeUnavailable, or
        ValueError where an answer makes no sense.
        """
        account, orders, config, funded = await asyncio.gather(
            self.account(now), self.open_orders(), self._config(), self.funding(since)
        )
        wanted = {*symbols, *(p.symbol for p in account.positions), *(o.symbol for o in orders)}
        wanted |= await self._symbols_of_commissions(since)
        pages = await asyncio.gather(*(self.fills(s, since, now) for s in sorted(wanted)))
        fills = sorted((f for page in pages for f in page), key=_fill_order)
        return ExchangeSnapshot(
            account,
            orders,
            tuple(fills),
            tuple(funded),
            leverage={str(row["symbol"]): int(row["leverage"]) for row in config},
            margin_types={str(row["symbol"]): str(row.get("marginType", "")) for row in config},
            hedge_mode=hedge,
        )

    async def account(self, now: int) -> AccountReport:
        """Read wallet and positions."""
        account, positions = await asyncio.gather(
            self._requests.read(endpoints.ACCOUNT),
            self._requests.read(endpoints.POSITION_RISK),
        )
        return parse.account_report(account, positions, self._settings.quote_asset, now)

    async def open_orders(self) -> tuple[OrderReport, ...]:
        """Read resting orders and waiting conditional ones."""
        plain, conditional = await asyncio.gather(
            self._requests.read(endpoints.OPEN_ORDERS),
            self._requests.read(endpoints.OPEN_ALGO_ORDERS),
        )
        reports = [parse.order_report(o) for o in plain]
        reports += [parse.algo_report(o) for o in conditional]
        for report in reports:
            self.remember(report)
        return tuple(sorted(reports, key=lambda r: (r.symbol, r.client_order_id)))

    async def funding(self, since: int) -> list[FundingReport]:
        """Read settled funding, oldest first."""
        rows = await self._income(since, "FUNDING_FEE")
        reports = {r.transaction_id: r for r in map(parse.funding, rows)}
        return sorted(reports.values(), key=lambda r: (r.time, r.symbol, r.transaction_id))

    async def fills(self, symbol: str, since: int, now: int) -> list[Fill]:
        """Read a symbol's fills, oldest first."""
        rows: dict[int, Any] = {}
        # what is older than the exchange keeps needs no reading
        start = since if self._settings.paper else max(since, now - KEPT_MS)
        window = now - start + 1 if self._settings.paper else WINDOW_MS
        while start <= now:
            params: Params = {
                "symbol": symbol, "limit": PAGE, "startTime": start, "endTime": start + window - 1,
            }  # fmt: skip
            async with self._gate:
                page = await self._requests.read(endpoints.USER_TRADES, params)
            known = len(rows)
            rows |= {int(row["id"]): row for row in page}
            if len(page) < PAGE:
                start += window
            else:
                # a full page may end inside one millisecond: read that millisecond again
                newest = max(int(row["time"]) for row in page)
                start = newest if len(rows) > known else newest + 1
        wanted = [row for _, row in sorted(rows.items()) if int(row["time"]) >= since]
        await self._learn_client_ids(symbol, {int(row["orderId"]) for row in wanted})
        settings = self._settings
        return [
            parse.fill(row, settings.account, self._owner(symbol, row), settings.quote_asset)
            for row in wanted
        ]

    def _owner(self, symbol: str, row: Any) -> str:
        return self._client_ids[symbol, str(row["orderId"])]

    async def _learn_client_ids(self, symbol: str, orders: set[int]) -> None:
        unknown = {o for o in orders if (symbol, str(o)) not in self._client_ids}
        while unknown:
            first = min(unknown)
            params: Params = {"symbol": symbol, "orderId": first, "limit": PAGE}
            async with self._gate:
                page = await self._requests.read(endpoints.ALL_ORDERS, params)
                if all(int(row["orderId"]) != first for row in page):
                    one: Params = {"symbol": symbol, "orderId": first}
                    page.append(await self._requests.read(endpoints.GET_ORDER, one))
            for row in page:
                self._client_ids[symbol, str(row["orderId"])] = str(row["clientOrderId"])
            unknown -= {int(row["orderId"]) for row in page}
            if first in unknown:
                raise ExchangeUnavailable(f"{symbol}: order {first} of a trade is not told")

    async def _config(self) -> list[Any]:
        return list(await self._requests.read(endpoints.SYMBOL_CONFIG))

    async def _symbols_of_commissions(self, since: int) -> set[str]:
        if self._settings.symbols:
            return set()
        rows = await self._income(since, "COMMISSION")
        return {str(row["symbol"]) for row in rows if row.get("symbol")}

    async def _income(self, since: int, kind: str) -> list[Any]:
        rows: dict[tuple[str, str], Any] = {}
        start = since
        while True:
            params: Params = {"incomeType": kind, "startTime": start, "limit": PAGE}
            page = await self._requests.read(endpoints.INCOME, params)
            before = len(rows)
            rows |= {(str(row["tranId"]), str(row["symbol"])): row for row in page}
            newest = max((int(row["time"]) for row in page), default=start)
            if len(page) < PAGE:
                return list(rows.values())
            # a page may end inside one millisecond: read that millisecond again
            start = newest if newest > start or len(rows) > before else newest + 1


def _fill_order(fill: Fill) -> tuple[int, str, int]:
    return fill.time, fill.symbol, int(fill.trade_id)
