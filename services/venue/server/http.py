"""The HTTP server: from bytes to calls, from answers and refusals to replies."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from services.kit.observe.logs import get_logger
from services.kit.observe.telemetry import SpanKind, Telemetry
from services.kit.observe.trace_context import sampled_context_of
from services.venue.core.faults import PAPER_POINT
from services.venue.core.rejections import Rejection
from services.venue.server.calls import Call, Routes, Security
from services.venue.server.fault_routes import FAULTS_PATH, FaultRoutes
from services.venue.server.faulty_replies import FaultyReplies, hung_up, subject_of
from services.venue.server.faulty_streams import FaultyStreams
from services.venue.server.limits import Limits, TooManyRequests
from services.venue.server.paper import PaperClock
from services.venue.server.security import Keys, Unauthorized, check_time
from services.venue.server.sockets import ListenKey, Socket, encode
from services.venue.server.streams import Message, Streams, known_streams

log = get_logger(__name__)

_FAULT = 500
"""From this status on it is the server that failed."""


class HttpServer:
    """Answers REST calls by the route table and holds the WebSockets."""

    def __init__(
        self,
        *,
        routes: Routes,
        keys: Keys,
        limits: Limits,
        listen_key: ListenKey,
        streams: Streams,
        paper: PaperClock,
        replies: FaultyReplies,
        faulty: FaultyStreams,
        faults: FaultRoutes,
        symbols: Callable[[], list[str]],
        wall_ms: Callable[[], int],
        limit_ms: Callable[[], int],
        telemetry: Telemetry | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._routes = routes
        self._keys = keys
        self._limits = limits
        self._listen_key = listen_key
        self._streams = streams
        self._paper = paper
        self._replies = replies
        self._faulty = faulty
        self._faults = faults
        self._symbols = symbols
        self._wall_ms = wall_ms
        self._limit_ms = limit_ms

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application()
        app.router.add_get("/paper/ws", self._paper_socket)
        app.router.add_get("/paper/v1/clock", self._clock)
        app.router.add_route("*", FAULTS_PATH, self._faults.answer)
        for prefix in ("", "/market", "/public"):
            app.router.add_get(f"{prefix}/ws", self._market_socket)
            app.router.add_get(f"{prefix}/ws/{{tail:.*}}", self._market_socket)
        app.router.add_get("/private/ws", self._user_socket)
        app.router.add_get("/private/ws/{tail:.*}", self._user_socket)
        app.router.add_route("*", "/{tail:.*}", self._rest)
        return app

    async def _rest(self, request: web.Request) -> web.Response:
        place = sampled_context_of(request.headers)
        if place is None or self._telemetry is None:
            return await self._answer(request)
        name = f"{request.method} {request.path}"
        with self._telemetry.span(name, kind=SpanKind.SERVER, parent=place) as draft:
            answer = await self._answer(request)
            if draft is not None:
                draft.attributes |= {
                    "http.request.method": request.method,
                    "url.path": request.path,
                    "http.response.status_code": answer.status,
                }
                draft.error = str(answer.status) if answer.status >= _FAULT else ""
            return answer

    async def _answer(self, request: web.Request) -> web.Response:
        query = request.rel_url.raw_query_string
        body = await request.text() if request.can_read_body else ""
        call = Call(dict(parse_qsl(query) + parse_qsl(body)))
        subject = subject_of(request.method, request.path, call)

        def decide() -> web.Response:
            return self._decide(request, call, query, body)

        return await self._replies.answer(request, subject, decide)

    def _decide(self, request: web.Request, call: Call, query: str, body: str) -> web.Response:
        """Carry a request out and return its answer."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            return web.Response(status=404, text="<html>404 Not Found</html>")
        headers: dict[str, str] = {}
        try:
            headers = self._limits.take(
                self._limit_ms(), weight=route.cost(call), orders=route.order_count(call)
            )
            self._prove(route.security, request, call, query, body)
            answer = route.handler(call)
        except Rejection as refused:
            status = 401 if isinstance(refused, Unauthorized) else 400
            return _error(status, refused.code, refused.message, headers)
        except TooManyRequests as many:
            retry = {"Retry-After": str(many.retry_after)}
            return _error(429, -1003, many.message, retry)
        except Exception:
            log.exception("request_failed", method=request.method, path=request.path)
            text = "Internal error; unable to process your request. Please try again."
            return _error(500, -1001, text, headers)
        return web.Response(text=encode(answer), content_type="application/json", headers=headers)

    def _prove(
        self, security: Security, request: web.Request, call: Call, query: str, body: str
    ) -> None:
        if security is Security.PUBLIC:
            return
        self._keys.check_key(request.headers.get("X-MBX-APIKEY"))
        if security is Security.SIGNED:
            self._keys.check_signature(query, body)
            check_time(call, self._wall_ms())

    async def _clock(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text=encode(self._paper.clock()), content_type="application/json")

    async def _market_socket(self, request: web.Request) -> web.StreamResponse:
        tail = request.match_info.get("tail", "")
        if tail == self._listen_key.value:
            return await self._user_socket(request)
        if (refusal := await self._refusal("market", request)) is not None:
            return refusal
        ws = await _accept(request)
        socket = Socket(ws)
        self._streams.market.add(socket)

        async def on_text(text: str) -> None:
            await socket.send(self._faulty.posts(self._control(socket, text)))

        try:
            named = [name for name in tail.split("/") if "@" in name]
            if named:
                await socket.send(self._faulty.posts(self._streams.subscribe(socket, named)))
            await _read(ws, on_text)
        finally:
            self._streams.market.discard(socket)
        return ws

    def _control(self, socket: Socket, text: str) -> list[Message]:
        """Carry out a SUBSCRIBE or UNSUBSCRIBE; return the answer and where streams stand."""
        try:
            message = json.loads(text)
            number, method = message.get("id"), message.get("method")
            names = known_streams(message.get("params") or [], self._symbols())
        except (ValueError, AttributeError):
            return [{"error": {"code": 3, "msg": "Invalid JSON"}, "id": None}]
        except Rejection as refused:
            return [{"error": {"code": refused.code, "msg": refused.message}, "id": number}]
        done: Message = {"result": None, "id": number}
        if method == "SUBSCRIBE":
            return [done, *self._streams.subscribe(socket, names)]
        if method == "UNSUBSCRIBE":
            socket.streams.difference_update(names)
            return [done]
        if method == "LIST_SUBSCRIPTIONS":
            return [{"result": sorted(socket.streams), "id": number}]
        return [{"error": {"code": 1, "msg": "Unknown method"}, "id": number}]

    async def _refusal(self, kind: str, request: web.Request) -> web.Response | None:
        """Return the answer to a socket that a fault does not let in."""
        if await self._faulty.until_heard(kind):
            return hung_up(request)
        return web.Response(status=503) if self._faulty.refuses(kind) else None

    async def _user_socket(self, request: web.Request) -> web.StreamResponse:
        key = request.query.get("listenKey") or request.match_info.get("tail", "")
        if key != self._listen_key.value or not self._listen_key.valid:
            return _error(400, -1125, "This listenKey does not exist.", {})
        if (refusal := await self._refusal("user", request)) is not None:
            return refusal
        ws = await _accept(request)
        socket = Socket(ws)
        self._streams.user.add(socket)
        self._paper.user_joined()
        try:
            await _read(ws, _ignored)
        finally:
            self._streams.user.discard(socket)
        return ws

    async def _paper_socket(self, request: web.Request) -> web.StreamResponse:
        if (refusal := await self._refusal(PAPER_POINT, request)) is not None:
            return refusal
        ws = await _accept(request)
        socket = Socket(ws)

        async def on_text(text: str) -> None:
            try:
                self._paper.answer(json.loads(text))
            except ValueError:
                log.warning("paper_message_unreadable", text=text[:100])

        await self._paper.join(socket)
        try:
            await _read(ws, on_text)
        finally:
            self._paper.leave(socket)
        return ws


async def _accept(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(compress=False, autoping=True, heartbeat=180.0)
    await ws.prepare(request)
    return ws


async def _read(ws: web.WebSocketResponse, on_text: Callable[[str], Awaitable[None]]) -> None:
    async for message in ws:
        if message.type == WSMsgType.TEXT:
            await on_text(message.data)


async def _ignored(text: str) -> None:
    log.debug("user_stream_message_ignored", size=len(text))


def _error(status: int, code: int, message: str, headers: dict[str, str]) -> web.Response:
    body = encode({"code": code, "msg": message})
    return web.Response(status=status, text=body, content_type="application/json", headers=headers)
