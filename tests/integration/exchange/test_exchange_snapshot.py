"""Reconciliation reads everything: all pages, all symbols, whose order each fill is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from services.exec_risk.exchange.requests import ExchangeRefused
from services.trade.times import DAY_MS
from tests.integration.exchange.scripted_exchange import ScriptedExchange, error, scripted
from tests.integration.exchange.test_exchange_outcomes import client

START = 100 * DAY_MS


def trade(number: int, symbol: str) -> dict[str, Any]:
    return {
        "id": number, "orderId": number // 2, "symbol": symbol, "side": "BUY", "price": "100.10",
        "qty": "0.001", "commission": "0.00004", "commissionAsset": "USDT", "realizedPnl": "0",
        "maker": False, "time": START + number,
    }  # fmt: skip


def serve(server: ScriptedExchange, trades: list[dict[str, Any]]) -> None:
    async def user_trades(request: web.Request) -> web.Response:
        query = request.query
        found = [t for t in trades if t["symbol"] == query["symbol"]]
        found = [t for t in found if int(query["startTime"]) <= t["time"] <= int(query["endTime"])]
        return web.json_response(found[: int(query["limit"])])

    async def all_orders(request: web.Request) -> web.Response:
        query = request.query
        ids = sorted({t["orderId"] for t in trades if t["symbol"] == query["symbol"]})
        page = [i for i in ids if i >= int(query["orderId"])][: int(query["limit"])]
        return web.json_response([{"orderId": i, "clientOrderId": f"qte0-{i}"} for i in page])

    async def income(request: web.Request) -> web.Response:
        if request.query["incomeType"] != "COMMISSION":
            return web.json_response([])
        return web.json_response(
            [{"tranId": 1, "symbol": "ETHUSDT", "time": START, "income": "-1"}]
        )

    server.script["GET", "userTrades"] = user_trades
    server.script["GET", "allOrders"] = all_orders
    server.script["GET", "income"] = income


@pytest.mark.parametrize("age_days", [1, 30])
async def test_all_pages_of_fills_with_their_orders(age_days: int) -> None:
    async with scripted() as server, client(server) as exchange:
        trades = [trade(n, "BTCUSDT") for n in range(2_500)] + [trade(9_000, "ETHUSDT")]
        serve(server, trades)
        exchange._streams.market_time = START + age_days * DAY_MS
        server.script["GET", "openOrders"] = _one_open_order
        snapshot = await exchange.snapshot(START + 100)
        assert len(snapshot.fills) == 2_400 + 1
        assert [f.time for f in snapshot.fills] == sorted(f.time for f in snapshot.fills)
        assert all(f.client_order_id == f"qte0-{int(f.trade_id) // 2}" for f in snapshot.fills)
        assert snapshot.account.wallet_balance == Decimal(1)
        assert [o.client_order_id for o in snapshot.open_orders] == ["qtt0-open"]


async def test_fill_of_an_order_that_is_not_told_is_no_snapshot() -> None:
    """Half a truth is worse than none: the caller tries again."""
    async with scripted() as server, client(server) as exchange:
        serve(server, [trade(9_000, "ETHUSDT")])
        exchange._streams.market_time = START + DAY_MS

        async def nothing(_request: web.Request) -> web.Response:
            return web.json_response([])

        async def unknown(_request: web.Request) -> web.Response:
            return error(400, -2013, "Order does not exist.")

        server.script["GET", "allOrders"] = nothing
        server.script["GET", "order"] = unknown
        with pytest.raises(ExchangeRefused, match="-2013"):
            await exchange.snapshot(START)


async def _one_open_order(_request: web.Request) -> web.Response:
    order = {
        "orderId": 77, "clientOrderId": "qtt0-open", "symbol": "BTCUSDT", "side": "SELL",
        "status": "NEW", "origQty": "1", "executedQty": "0", "type": "LIMIT", "updateTime": 5,
    }  # fmt: skip
    return web.json_response([order])
