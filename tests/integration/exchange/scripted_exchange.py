"""A small HTTP and WebSocket server of Binance's shape whose every answer a test can script."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from aiohttp import WSMsgType, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def symbol_info(symbol: str) -> dict[str, Any]:
    return {
        "symbol": symbol, "status": "TRADING", "contractType": "PERPETUAL", "quoteAsset": "USDT",
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
    }  # fmt: skip


class ScriptedExchange:
    """Answers plainly unless `script[(method, path)]` says otherwise; keeps what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.script: dict[tuple[str, str], Handler] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.orders: dict[str, dict[str, Any]] = {}
        self.clock_ahead_ms = 0
        self.hedge = False
        self.margin_type = "CROSSED"
        self.headers: dict[str, str] = {}
        self.rate_limits: list[dict[str, Any]] = []
        self.opened = 0
        self.mute: set[str] = set()
        self.symbols = [symbol_info("BTCUSDT"), symbol_info("ETHUSDT")]
        self.sockets: dict[str, list[web.WebSocketResponse]] = {
            "user": [],
            "market": [],
            "paper": [],
        }
        self.subscribed: list[list[str]] = []
        self.listen_keys = 0
        self.idle: list[int] = []
        self.point: dict[str, Any] | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/fapi/{version}/{path:.*}", self._rest)
        app.router.add_get("/private/ws", partial(self._socket, "user"))
        app.router.add_get("/market/ws/{n}", partial(self._socket, "market"))
        app.router.add_get("/paper/ws", partial(self._socket, "paper"))
        app.router.add_get("/paper/v1/clock", self._paper_clock)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr] # started
        self.url = f"http://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        for sockets in self.sockets.values():
            for socket in list(sockets):
                await socket.close(code=1001)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def send(self, stream: str, event: dict[str, Any]) -> None:
        for socket in list(self.sockets[stream]):
            await socket.send_str(json.dumps(event))

    async def step(self, number: int, user: int, klines: list[str]) -> None:
        self.point = {
            "e": "paperPoint", "n": number, "T": number * 60_000, "user": user,
            "klines": klines, "pace": "lockstep", "ended": False,
        }  # fmt: skip
        await self.send("paper", self.point)

    def count(self, method: str, path: str) -> int:
        return sum(1 for m, p, _ in self.asked if (m, p) == (method, path))

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        text = (await request.text()) or request.query_string
        params = {k: v[0] for k, v in parse_qs(text).items()}
        self.asked.append((request.method, path, params))
        scripted = self.script.get((request.method, path))
        if scripted is not None:
            return await scripted(request)
        late = self._clock_error(params)
        answer = late or self._answer(request.method, path, params)
        answer.headers.update(self.headers)
        return answer

    def server_ms(self) -> int:
        return int(time.time() * 1000) + self.clock_ahead_ms

    def _clock_error(self, params: dict[str, str]) -> web.Response | None:
        if "timestamp" not in params:
            assert "recvWindow" not in params, "an unsigned call carries no recvWindow"
            return None
        age = self.server_ms() - int(params["timestamp"])
        if -1000 < age <= int(params["recvWindow"]):
            return None
        return error(400, -1021, "Timestamp for this request is outside of the recvWindow.")

    def _answer(self, method: str, path: str, params: dict[str, str]) -> web.Response:
        if (method, path) == ("POST", "order"):
            return web.json_response(self._accept(params))
        if (method, path) == ("GET", "order"):
            found = self.orders.get(params["origClientOrderId"])
            return web.json_response(found) if found else error(400, -2013, "Order does not exist.")
        if (method, path) == ("POST", "listenKey"):
            self.listen_keys += 1
            return web.json_response({"listenKey": f"key{self.listen_keys}"})
        if (method, path) == ("POST", "marginType"):
            self.margin_type = params["marginType"]
        plain: dict[str, Any] = {
            "time": {"serverTime": self.server_ms()},
            "exchangeInfo": {"symbols": self.symbols, "rateLimits": self.rate_limits},
            "leverageBracket": [],
            "positionSide/dual": {"dualSidePosition": self.hedge},
            "klines": [],
            "account": {
                "assets": [{"asset": "USDT", "walletBalance": "1", "availableBalance": "1"}]
            },
            "leverage": {"leverage": int(params.get("leverage", "0"))},
            "symbolConfig": [{"symbol": "BTCUSDT", "leverage": 20, "marginType": self.margin_type}],
        }
        return web.json_response(plain.get(path, []))

    def _accept(self, params: dict[str, str]) -> dict[str, Any]:
        client_id = params["newClientOrderId"]
        order = {
            "orderId": len(self.orders) + 1, "clientOrderId": client_id, "status": "NEW",
            "symbol": params["symbol"], "side": params["side"], "type": params["type"],
            "origQty": params["quantity"], "executedQty": "0", "updateTime": 1,
        }  # fmt: skip
        self.orders[client_id] = order
        return order

    async def _paper_clock(self, _request: web.Request) -> web.Response:
        return web.json_response({"n": 0, "T": 0})

    async def _socket(self, stream: str, request: web.Request) -> web.WebSocketResponse:
        self.opened += 1
        socket = web.WebSocketResponse(autoping=stream not in self.mute)
        await socket.prepare(request)
        self.sockets[stream].append(socket)
        try:
            if stream == "paper" and self.point is not None:
                await socket.send_str(json.dumps(self.point))
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                told = json.loads(message.data)
                if "idle" in told:
                    self.idle.append(told["idle"])
                elif told.get("method") == "SUBSCRIBE":
                    self.subscribed.append(told["params"])
                    await socket.send_str(json.dumps({"result": None, "id": told["id"]}))
        finally:
            self.sockets[stream].remove(socket)
        return socket


def error(status: int, code: int, message: str) -> web.Response:
    return web.json_response({"code": code, "msg": message}, status=status)


async def cut_off(request: web.Request) -> web.StreamResponse:
    """Break the connection after the request was read."""
    transport = request.transport
    assert transport is not None
    transport.abort()
    await asyncio.sleep(0)
    return web.Response()


async def half_an_answer(request: web.Request) -> web.StreamResponse:
    """Break the connection in the middle of the body."""
    response = web.StreamResponse(headers={"Content-Length": "500"})
    await response.prepare(request)
    await response.write(b'{"orderId": 1, ')
    assert request.transport is not None
    request.transport.close()
    return response


@asynccontextmanager
async def scripted() -> AsyncIterator[ScriptedExchange]:
    exchange = ScriptedExchange()
    await exchange.start()
    try:
        yield exchange
    finally:
        await exchange.stop()
