"""The ccxt client: unmodified `binanceusdm`, pointed at a venue, with its raw events tapped.

Requests go through ccxt's implicit endpoint methods: decimals stay the strings that were sent,
and no market table has to be loaded, so an odd symbol in exchangeInfo cannot break anything.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import ccxt
import ccxt.pro as ccxt_pro

from services.exec_risk.exchange.endpoints import Endpoint
from services.exec_risk.exchange.http_spans import HttpSpans
from services.exec_risk.exchange.secrets import Redactor
from services.exec_risk.exchange.settings import ExchangeSettings
from services.kit.observe.logs import get_logger
from services.kit.observe.telemetry import Telemetry

log = get_logger(__name__)

USER_EVENTS = frozenset({"ORDER_TRADE_UPDATE", "ALGO_UPDATE", "ACCOUNT_UPDATE"})
MARKET_EVENTS = frozenset({"kline", "markPriceUpdate", "bookTicker"})
KEEP_ALIVE_MS = 1_000
"""Ping interval; three misses make a half-open socket visible after 3 s."""

RawEvent = dict[str, Any]


@dataclass(slots=True)
class Reply:
    """What came back of one request: an answer, or the exception that stands for its absence."""

    status: int | None = None
    """HTTP status; None when no answer came."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    error: Exception | None = None


class TappedClient(ccxt_pro.binanceusdm):  # type: ignore[misc] # ccxt has no types
    """ccxt.pro client that hands every user, candle and price event on as it came.

    ccxt's own caches are left out: they lose the closed flag and the exact decimals, and of
    fifty candles that close together they wake the awaiting call for one.
    """

    def __init__(
        self,
        config: dict[str, Any],
        *,
        redactor: Redactor,
        on_event: Callable[[RawEvent], None],
        on_stream: Callable[[str, bool, str], None],
        spans: HttpSpans,
    ) -> None:
        super().__init__(config)
        self._spans = spans
        self._redactor = redactor
        self._on_event = on_event
        self._on_stream = on_stream
        # ccxt keeps only the last answer's headers, and many requests are under way at once
        self._reply: ContextVar[Reply | None] = ContextVar("reply", default=None)

    async def ask(self, endpoint: Endpoint, params: Mapping[str, Any]) -> Reply:
        """Send one request. Never raises what went wrong: it is in the reply, without secrets."""
        reply = Reply()
        token = self._reply.set(reply)
        try:
            reply.body = await getattr(self, endpoint.method)(dict(params))
        except ccxt.BaseError as error:
            reply.error = self._redactor.error(error)
        except Exception as error:
            # whatever broke while an answer was read, the request may have arrived
            reply.error = self._redactor.error(error)
            log.exception("exchange_answer_unreadable", endpoint=endpoint.method)
        finally:
            self._reply.reset(token)
        return reply

    async def fetch(
        self, url: str, method: str = "GET", headers: Any = None, body: Any = None
    ) -> Any:
        """Send a request inside a span of its own where its trace is written."""
        fetch = super().fetch

        def status() -> int | None:
            reply = self._reply.get()
            return None if reply is None else reply.status

        return await self._spans.request(
            url, method, headers, lambda told: fetch(url, method, told, body), status
        )

    def on_rest_response(self, code: int, *args: Any) -> Any:
        """Note the status and headers of the answer that this very request got."""
        reply, headers = self._reply.get(), args[3]
        if reply is not None:
            reply.status, reply.headers = code, headers
        return super().on_rest_response(code, *args)

    def handle_message(self, client: Any, message: Any) -> None:
        """Take what is ours, leave the rest to ccxt. Never raises: that would stop its reader."""
        try:
            self._handle(client, message)
        except Exception as error:
            log.exception("exchange_event_unreadable", url=_socket_name(client.url))
            self._on_stream(_socket_name(client.url), True, f"unreadable event: {error}")

    def _handle(self, client: Any, message: Any) -> None:
        body = message.get("data", message) if isinstance(message, dict) else message
        event = body.get("e") if isinstance(body, dict) else None
        if event in USER_EVENTS or event in MARKET_EVENTS:
            self._on_event(body)
        elif event == "listenKeyExpired":
            client.on_error(ccxt.NetworkError("the listen key expired"))
        elif isinstance(body, dict) and "result" in body and "id" in body:
            self._on_stream(_socket_name(client.url), True, "subscribed")
            super().handle_message(client, message)
        else:
            if _socket_name(client.url) == "user":
                self._on_event({"e": "other", "pn": _step(body)})
            super().handle_message(client, message)

    def on_connected(self, client: Any, message: Any = None) -> None:
        """Tell that the user socket is open; the market socket tells by its subscription."""
        super().on_connected(client, message)
        if _socket_name(client.url) == "user":
            self._on_stream("user", True, "connected")

    async def follow_user_stream(self, listen_key: str) -> None:
        """Keep the user socket; returns only by an exception, when it broke."""
        url = self.get_private_ws_url("linear", listen_key)
        await self._watching(lambda: self.watch(url, "orders", None, "linear"))

    async def follow_market(self, streams: list[str]) -> None:
        """Keep the market socket with these streams; returns only by an exception."""
        await self._follow("market", "multipleOHLCV", streams)

    async def follow_books(self, streams: list[str]) -> None:
        """Keep the socket of best bids and asks; returns only by an exception."""
        await self._follow("public", "bidasks", streams)

    async def _follow(self, category: str, name: str, streams: list[str]) -> None:
        url = self.get_ws_url("linear", category) + "/" + self.stream("linear", name)
        number = self.request_id(url)
        request = {"method": "SUBSCRIBE", "params": streams, "id": number}
        hashes = [f"tap::{stream}" for stream in streams]
        await self._watching(
            lambda: self.watch_multiple(url, hashes, request, hashes, {"id": number})
        )

    async def _watching(self, watch: Callable[[], Awaitable[Any]]) -> None:
        try:
            while True:
                await watch()
        except ccxt.BaseError as error:
            # its text holds the socket's address, which is the listen key
            raise self._redactor.error(error) from None

    def drop(self, stream: str, reason: str) -> None:
        """Break a socket so that its keeper opens it again."""
        for client in list(self.clients.values()):
            if _socket_name(client.url) == stream:
                client.on_error(ccxt.NetworkError(reason))


def build_client(
    settings: ExchangeSettings,
    *,
    on_event: Callable[[RawEvent], None],
    on_stream: Callable[[str, bool, str], None],
    telemetry: Telemetry | None = None,
) -> TappedClient:
    """Make the client of a venue and prove by its addresses that it is that venue's."""
    config: dict[str, Any] = {
        "apiKey": settings.api_key,
        "secret": settings.api_secret,
        "timeout": int(settings.timeout_seconds * 1000),
        "enableRateLimit": False,
        # ccxt logs every request with key and signature at DEBUG: its logger leads nowhere
        "logger": _silent_logger(),
        "streaming": {"keepAlive": KEEP_ALIVE_MS},
        # ccxt looks futures codes up only under Binance's own host names
        "exceptions": {"exact": dict(ccxt.binanceusdm().exceptions["linear"]["exact"])},
        "options": {
            "recvWindow": settings.recv_window_ms,
            "fetchCurrencies": False,
            "fetchMargins": False,
            "adjustForTimeDifference": False,
            "maxRetriesOnFailure": 0,
        },
    }
    redactor = Redactor(settings.api_secret, settings.api_key)
    client = TappedClient(
        config,
        redactor=redactor,
        on_event=on_event,
        on_stream=on_stream,
        # nobody outside learns our trace ids
        spans=HttpSpans(telemetry, tells_server=settings.paper),
    )
    if settings.paper:
        client.urls["api"] = _paper_urls(client.urls["api"], settings)
    elif settings.venue == "demo":
        client.enable_demo_trading(True)
    _assert_addresses(client, settings)
    return client


def _silent_logger() -> logging.Logger:
    logger = logging.getLogger("ccxt.silent")
    logger.propagate, logger.disabled = False, True
    return logger


def _paper_urls(urls: dict[str, Any], settings: ExchangeSettings) -> dict[str, Any]:
    """Replace every address, also those that nobody calls: none may leave this machine."""
    base, paths = settings.url.rstrip("/"), {"V2": "/fapi/v2", "V3": "/fapi/v3", "Data": "/data"}
    replaced: dict[str, Any] = {}
    for key in urls:
        path = next((path for end, path in paths.items() if key.endswith(end)), "/fapi/v1")
        replaced[key] = base + (path if key.startswith("fapi") else f"/unused/{key}")
    replaced["fapiData"] = base + "/futures/data"
    sockets = {key: f"{settings.socket_url}/unused/{key}" for key in urls["ws"]}
    sockets["linear"] = settings.socket_url + "/ws"
    unused_api = dict.fromkeys(urls["ws"]["ws-api"], f"{settings.socket_url}/unused/ws-api")
    replaced["ws"] = {**sockets, "ws-api": unused_api}
    return replaced


def _assert_addresses(client: TappedClient, settings: ExchangeSettings) -> None:
    used = [client.urls["api"][key] for key in ("fapiPublic", "fapiPrivate", "fapiPrivateV3")]
    expected = {
        "paper": settings.url.rstrip("/"),
        "demo": "https://demo-fapi.binance.com/",
        "live": "https://fapi.binance.com/",
    }[settings.venue]
    if not all(url.startswith(expected) for url in used):
        raise ValueError(f"venue {settings.venue}: addresses {used} do not start with {expected}")
    if settings.paper and "binance" in str(client.urls["api"]):
        raise ValueError("venue paper: an address of Binance is left in the client")


def _socket_name(url: str) -> str:
    if "/private/" in url:
        return "user"
    return "market" if "/market/" in url else "books"


def _step(body: Any) -> int | None:
    step = body.get("pn") if isinstance(body, dict) else None
    return step if isinstance(step, int) else None
