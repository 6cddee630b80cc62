"""Keeps the exchange's sockets open and brings their events into one order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import ccxt

from services.exec_risk.core.exchange_events import (
    CandleClosed,
    OrderReport,
    PointReached,
    PriceReport,
    StreamStateChanged,
)
from services.exec_risk.exchange.client import RawEvent, TappedClient
from services.exec_risk.exchange.errors import error_text
from services.exec_risk.exchange.paper import PaperClock
from services.exec_risk.exchange.requests import ExchangeRefused, ExchangeUnavailable
from services.exec_risk.exchange.settings import ExchangeSettings
from services.exec_risk.exchange.steps import Item, Listed, StepSequencer
from services.exec_risk.exchange.stream_parse import PriceBoard, closed_candle, user_events
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.trade.times import timeframe_ms

log = get_logger(__name__)

CONNECT_SECONDS = 15.0
"""A socket that is not up after so long is opened anew, whatever it waits for."""
FIRST_RETRY_SECONDS = 0.1
ECHOES_KEPT = 1_024
"""The stream often tells an order before the answer to its request is read."""
BAN_SECONDS = 0.25
"""How often is looked whether a ban has ended."""


class Streams:
    """User and market sockets of one account as one queue of events."""

    def __init__(self, settings: ExchangeSettings, clock: Clock) -> None:
        self.items: asyncio.Queue[Item] = asyncio.Queue()
        self.market_time = 0
        """Newest market time that any event told."""
        self._settings = settings
        self._clock = clock
        self._sequencer = StepSequencer()
        self._prices = PriceBoard()
        self._up: dict[str, bool] = {"user": False, "market": False}
        self._candles: dict[str, int] = {}
        self._told_at: dict[str, float] = {}
        self._echoes: dict[str, float] = {}
        self._echoed: dict[str, None] = {}
        self._points_at: dict[int, float] = {}
        self._orphaned_since = 0.0
        self._followed: frozenset[str] = frozenset()
        self._passed_over: set[str] = set()
        self._client: TappedClient | None = None
        self._tasks: set[asyncio.Future[None]] = set()
        self._paper: PaperClock | None = None
        self._may_connect: Callable[[], bool] = lambda: True

    @property
    def user_up(self) -> bool:
        """True while the user stream is open."""
        return self._up["user"]

    @property
    def ready(self) -> bool:
        """True while all event sockets are open."""
        return all(self._up.values())

    def start(
        self,
        client: TappedClient,
        symbols: Iterable[str],
        *,
        listen_key: Callable[[], Awaitable[str]],
        renew: Callable[[], Awaitable[bool]],
        may_connect: Callable[[], bool],
    ) -> None:
        """Open the sockets and keep them open; none is opened while `may_connect` is False."""
        chosen, self._client, self._may_connect = sorted(symbols), client, may_connect
        self._followed = frozenset(chosen)

        async def follow_user() -> None:
            await client.follow_user_stream(await listen_key())

        self._spawn(self._keep("user", follow_user))
        self._follow(client, chosen)
        self._spawn(self._watch(client))
        self._spawn(self._renew(client, renew))
        if self._settings.paper:
            self._paper = PaperClock(
                f"{self._settings.socket_url}/paper/ws",
                self._clock,
                followed=lambda: self._followed,
                ready=lambda: self.ready,
                on_point=self._take_point,
                on_closed=self._note_listed,
                on_down=self._point_socket_down,
            )
            self._spawn(self._paper.run())

    def join(self, symbols: Iterable[str]) -> None:
        """Follow more symbols, from the candle after the one that closed last."""
        chosen = sorted(set(symbols) - self._followed)
        if not chosen or self._client is None:
            return
        client, interval = self._client, timeframe_ms(self._settings.timeframe)
        # what closed until now is history: it is published as such, not as news
        self._candles |= dict.fromkeys(chosen, self.market_time - interval)
        self._followed |= frozenset(chosen)
        self._follow(client, chosen)

    def _follow(self, client: TappedClient, chosen: list[str]) -> None:
        names = [f"{s.lower()}@kline_{self._settings.timeframe}" for s in chosen]
        # the paper venue tells prices with its points, so that they come in market time
        if self._settings.prices and not self._settings.paper:
            names += [f"{s.lower()}@markPrice@1s" for s in chosen]
            books = [f"{s.lower()}@bookTicker" for s in chosen]
            self._spawn(self._keep("books", lambda: client.follow_books(books)))
        self._spawn(self._keep("market", lambda: client.follow_market(names)))

    def look_again(self, symbols: Iterable[str]) -> None:
        """Tell of these symbols once more when they close again: looking them up failed."""
        self._passed_over -= set(symbols)

    async def stop(self) -> None:
        """End all tasks."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def idle(self, number: int) -> None:
        """Answer a point of the paper venue; nothing elsewhere."""
        if self._paper is not None:
            await self._paper.idle(number)

    def expect_echo(self, client_order_id: str) -> None:
        """Note an accepted order, which the user stream must tell soon."""
        # on the paper venue it comes with a later step of the market, and steps are counted
        if not self._settings.paper and client_order_id not in self._echoed:
            self._echoes[client_order_id] = self._clock.monotonic()

    def take(self, raw: RawEvent) -> None:
        """Take one raw event of a socket; ValueError when it makes no sense."""
        kind, step = raw.get("e"), raw.get("pn")
        if kind == "kline":
            self._told_at["market"] = self._clock.monotonic()
            self._take_candle(raw, step)
        elif kind == "bookTicker":
            self._prices.book(raw)
        elif kind == "markPriceUpdate":
            price = self._prices.mark(raw)
            self._put([price] if price is not None else [])
        else:
            events = user_events(raw, self._settings.account, self._settings.quote_asset)
            for event in events:
                self._note_time(getattr(event, "time", 0))
                if isinstance(event, OrderReport):
                    self._echoed[event.client_order_id] = None
                    self._echoes.pop(event.client_order_id, None)
            while len(self._echoed) > ECHOES_KEPT:
                self._echoed.pop(next(iter(self._echoed)))
            self._put(self._sequencer.user(step, events))

    def state(self, stream: str, up: bool, reason: str) -> None:
        """Take what is known of a socket; a repeated `up` tells that events may be missing."""
        if stream not in self._up:
            return
        was, self._up[stream] = self._up[stream], up
        self._told_at[stream] = self._clock.monotonic()
        if up or was:
            log.info("exchange_stream", stream=stream, up=up, reason=reason)
            self.items.put_nowait(StreamStateChanged(stream, up, reason))
        if self.ready and self._paper is not None:
            self._spawn(self._paper.repeat())

    def _take_candle(self, raw: RawEvent, step: int | None) -> None:
        candle = closed_candle(raw, self._settings.venue)
        if candle is None or candle.symbol not in self._followed:
            return
        if candle.open_time <= self._candles.get(candle.symbol, -1):
            return  # a new subscription tells the last candle again
        self._candles[candle.symbol] = candle.open_time
        self._note_time(candle.close_time)
        self._put(self._sequencer.candle(step, CandleClosed(candle)))

    def _note_listed(self, closed: frozenset[str]) -> None:
        wanted = frozenset(self._settings.symbols) or closed
        news = (closed & wanted) - self._followed - self._passed_over
        if news:
            self._passed_over |= news
            self._put([Listed(news)])

    def _take_point(
        self, point: PointReached, user_count: int, prices: Sequence[PriceReport]
    ) -> None:
        self._note_time(point.time)
        self._points_at.setdefault(point.number, self._clock.monotonic())
        if self._settings.prices:
            told = [p for p in prices if p.symbol in self._followed and self._prices.due(p)]
            self._put(self._sequencer.prices(point.number, told))
        self._put(self._sequencer.point(point, user_count))
        self._forget_points()

    def _point_socket_down(self, reason: str) -> None:
        log.warning("paper_point_socket_down", reason=reason)
        self._put(self._sequencer.disconnect())

    def _put(self, items: Iterable[Item]) -> None:
        for item in items:
            self.items.put_nowait(item)

    def _note_time(self, time: int) -> None:
        self.market_time = max(self.market_time, time)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, stream: str, follow: Callable[[], Awaitable[None]]) -> None:
        wait = FIRST_RETRY_SECONDS
        while True:
            while not self._may_connect():
                self._told_at[stream] = self._clock.monotonic()
                await self._clock.sleep(BAN_SECONDS)
            began = self._clock.monotonic()
            self._told_at[stream] = began
            try:
                await follow()
            except (ccxt.BaseError, ExchangeRefused, ExchangeUnavailable) as error:
                self.state(stream, up=False, reason=error_text(error))
            longest = 1.0 if self._settings.paper else 30.0
            lasted = self._clock.monotonic() - began > CONNECT_SECONDS
            wait = FIRST_RETRY_SECONDS if lasted else min(wait * 2, longest)
            await self._clock.sleep(wait)

    async def _watch(self, client: TappedClient) -> None:
        """See what no exception tells: silence, a hanging connect, steps that stay incomplete."""
        self._orphaned_since = self._clock.monotonic()
        while True:
            await self._clock.sleep(0.05 if self._sequencer.waiting else 0.25)
            now = self._clock.monotonic()
            for stream, up in self._up.items():
                silent = now - self._told_at.get(stream, now)
                limit = self._silence_limit(stream, up)
                if limit is not None and silent > limit:
                    self._told_at[stream] = now
                    client.drop(stream, f"silent for {silent:.0f} s")
            if any(now - sent > self._settings.echo_seconds for sent in self._echoes.values()):
                self._echoes.clear()
                client.drop("user", "an accepted order was not told")
            self._give_up_late_steps(now)
            self._release_orphans(now)

    def _silence_limit(self, stream: str, up: bool) -> float | None:
        if not up:
            return CONNECT_SECONDS
        quiet_is_normal = self._settings.paper or stream == "user"
        return None if quiet_is_normal else self._settings.silence_seconds

    def _give_up_late_steps(self, now: float) -> None:
        """Stop waiting for what lags too long behind its point.

        Each point has its own time: after a pause many wait at once, and what a lost socket would
        have told of them never comes, while newer fills must not wait behind them.
        """
        while (waiting := self._sequencer.waiting) is not None and self.ready:
            # before the first step nothing was followed, so nothing is on its way
            patience = self._settings.step_wait_seconds if self._sequencer.done >= 0 else 0.3
            if now - self._points_at.get(waiting.number, now) < patience:
                return
            first = self._sequencer.done < 0
            log.warning("paper_step_incomplete", point=waiting.number, first=first)
            self._put(self._sequencer.give_up())
            self._forget_points()

    def _forget_points(self) -> None:
        for number in [n for n in self._points_at if n <= self._sequencer.done]:
            del self._points_at[number]

    def _release_orphans(self, now: float) -> None:
        """Hand out events whose point stays away: a fill must not wait for a clock."""
        if not self._sequencer.orphaned:
            self._orphaned_since = now
        elif now - self._orphaned_since > self._settings.step_wait_seconds:
            log.warning("paper_point_late", after=self._sequencer.done)
            self._put(self._sequencer.flush())

    async def _renew(self, client: TappedClient, renew: Callable[[], Awaitable[bool]]) -> None:
        while True:
            await self._clock.sleep(self._settings.listen_key_seconds)
            if self.user_up and not await renew():
                client.drop("user", "the listen key was not renewed")
