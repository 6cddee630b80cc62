"""One account on Binance USDT-M futures, or on the paper venue that speaks like it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import ccxt

from services.exec_risk.core.exchange_events import (
    Accepted,
    ExchangeEvent,
    ExchangeSnapshot,
    OrderReport,
    RequestOutcome,
    SymbolsListed,
)
from services.exec_risk.exchange import endpoints
from services.exec_risk.exchange.account import AccountSetup, ExchangeMisconfigured
from services.exec_risk.exchange.client import build_client
from services.exec_risk.exchange.clock import ExchangeClock
from services.exec_risk.exchange.desk import OrderDesk
from services.exec_risk.exchange.gate import Gate
from services.exec_risk.exchange.limits import Use
from services.exec_risk.exchange.markets import Markets
from services.exec_risk.exchange.meter import LimitMeter, Unmetered
from services.exec_risk.exchange.recovery import Recovery
from services.exec_risk.exchange.request_spans import RequestSpans
from services.exec_risk.exchange.requests import (
    ExchangeRefused,
    ExchangeUnavailable,
    Requests,
)
from services.exec_risk.exchange.settings import ExchangeSettings
from services.exec_risk.exchange.snapshot import SnapshotReader
from services.exec_risk.exchange.steps import Listed, Missing
from services.exec_risk.exchange.stream_parse import FundingSettled
from services.exec_risk.exchange.streams import Streams
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.trade.candle import Candle
from services.trade.filters import SymbolFilters
from services.trade.order import Order

log = get_logger(__name__)


class BinanceExchange:
    """Satisfies `services.exec_risk.seams.Exchange`. Reads raise ExchangeRefused or
    ExchangeUnavailable; requests that change something never raise, they return an outcome."""

    def __init__(
        self,
        settings: ExchangeSettings,
        clock: Clock,
        *,
        meter: LimitMeter | None = None,
        spans: RequestSpans | None = None,
    ) -> None:
        self._spans = spans or RequestSpans()
        self._settings = settings
        self._clock = clock
        self._streams = Streams(settings, clock)
        self._client = build_client(
            settings,
            on_event=self._streams.take,
            on_stream=self._streams.state,
            telemetry=self._spans.telemetry,
        )
        self._time = ExchangeClock(clock, window_ms=settings.recv_window_ms)
        gate = Gate(
            clock,
            self._time,
            kept_percent=settings.exit_share_percent,
            meter=meter or Unmetered(),
            market_time=lambda: self._streams.market_time if settings.paper else 0,
        )
        self._requests = Requests(
            self._client, settings, clock, exchange_clock=self._time, gate=gate
        )
        self._account = AccountSetup(self._requests, settings)
        self._markets = Markets(self._requests, gate, settings, market_now=self._market_now)
        self._snapshots = SnapshotReader(self._requests, settings)
        self._orders = OrderDesk(self._requests, self._account, on_report=self._snapshots.remember)
        self._recovery = Recovery(
            funding=self._snapshots.funding,
            candles=lambda symbol: self.history(symbol, settings.timeframe, 3),
            clock=clock,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def connected(self) -> bool:
        """True while a signed request succeeded lately and the user stream is open."""
        return not self.down_reason

    @property
    def down_reason(self) -> str:
        """Why the exchange is not connected; empty when it is."""
        return self._requests.down_reason or (
            "" if self._streams.user_up else "the user stream is down"
        )

    @property
    def tells_points(self) -> bool:
        """True for the paper venue, which moves market time in steps and tells each of them."""
        return self._settings.venue == "paper"

    @property
    def symbols(self) -> tuple[str, ...]:
        """Market ids that are followed, in order; empty before `start`."""
        return tuple(sorted(self._markets.known))

    async def start(self) -> None:
        """Check the account and open the sockets.

        Raises ExchangeMisconfigured, ExchangeRefused, or ExchangeUnavailable (try again).
        """
        await self._requests.probe()
        if self._requests.key_refusal:
            raise ExchangeRefused("key", self._requests.key_refusal)
        if not self._requests.answered:
            raise ExchangeUnavailable(f"{self._settings.venue}: {self._requests.down_reason}")
        await self._account.check()
        filters = await self.filters()
        if not filters:
            raise ExchangeMisconfigured(f"none of {self._settings.symbols} can be traded")
        self._requests.probe_with(min(filters))
        self._streams.start(
            self._client,
            filters,
            listen_key=self._new_listen_key,
            renew=self._renew_listen_key,
            may_connect=lambda: not self._requests.banned,
        )
        self._tasks = [asyncio.create_task(self._probe()), asyncio.create_task(self._look_around())]

    async def close(self) -> None:
        """Close sockets and sessions."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._streams.stop()
        await self._client.close()

    async def filters(self) -> dict[str, SymbolFilters]:
        """Read filters and tiers of every symbol that can be traded; odd ones are left out."""
        return await self._markets.read()

    async def history(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """Read the last closed candles, oldest first, at most 999."""
        return await self._markets.history(symbol, timeframe, limit)

    async def snapshot(self, since: int) -> ExchangeSnapshot:
        """Read account, positions, open orders, fills and funding of `since` and later."""
        now = await self._market_now()
        return await self._snapshots.read(
            since, now, self._settings.symbols, hedge=self._account.hedge
        )

    async def place(self, order: Order, *, signed_at: int) -> RequestOutcome:
        """Send an order once, signed with the wall time (ms) of the write that allowed it."""
        with self._spans.order("place order", order) as asked:
            asked.outcome = outcome = await self._orders.place(order, signed_at)
        if isinstance(outcome, Accepted):
            self._streams.expect_echo(order.client_order_id)
        return outcome

    async def cancel(self, order: Order, *, signed_at: int | None = None) -> RequestOutcome:
        """Cancel an order by its client order id; a triggered one by its child, same id.

        Signed with `signed_at` as `place` is; with the time of now where it is not given.
        """
        with self._spans.order("cancel order", order) as asked:
            asked.outcome = outcome = await self._orders.cancel(order, signed_at)
        return outcome

    async def find(self, order: Order) -> OrderReport | None:
        """Ask for an order by its client order id; None when the exchange does not know it."""
        return await self._orders.find(order)

    async def set_leverage(
        self, symbol: str, leverage: int, *, signed_at: int | None = None
    ) -> int:
        """Set a symbol's leverage and return what a read-back says (incident 33).

        Raises ExchangeRefused when its margin is not cross and cannot be made so.
        """
        return await self._account.set_leverage(symbol, leverage, signed_at)

    async def events(self) -> AsyncIterator[ExchangeEvent]:
        """Everything that the exchange tells, in order, without end."""
        while True:
            item = await self._streams.items.get()
            if isinstance(item, FundingSettled):
                for told in await self._recovery.funding(item):
                    yield told
            elif isinstance(item, Missing):
                for told in await self._recovery.step(item):
                    yield told
            elif isinstance(item, Listed):
                listed = await self._look_up(item)
                if listed.filters:
                    yield listed
            else:
                if isinstance(item, OrderReport):
                    self._snapshots.remember(item)
                yield item

    async def idle(self, point: int) -> None:
        """Tell the paper venue that everything up to this point is handled."""
        await self._streams.idle(point)

    async def _look_up(self, listed: Listed) -> SymbolsListed:
        try:
            filters = await self.filters()
        except (ExchangeRefused, ExchangeUnavailable) as error:
            log.warning("listed_symbols_unread", symbols=sorted(listed.symbols), error=str(error))
            self._streams.look_again(listed.symbols)
            return SymbolsListed({})
        found = {s: f for s, f in filters.items() if s in listed.symbols}
        self._streams.join(found)
        log.info("symbols_listed", symbols=sorted(found))
        return SymbolsListed(found)

    async def _look_around(self) -> None:
        """Read again, now and then, what is traded and how the account is set up."""
        while True:
            await self._clock.sleep(self._settings.listing_seconds)
            await self._account.read_mode_again()
            try:
                changed = await self._markets.changed()
            except (ExchangeRefused, ExchangeUnavailable, ValueError) as error:
                log.warning("markets_unread", error=str(error))
                continue
            if changed:
                log.info("markets_changed", symbols=sorted(changed))
                self._streams.join(changed)
                self._streams.items.put_nowait(SymbolsListed(changed))

    async def _market_now(self) -> int:
        """Newest market time: Binance's clock, or what the paper venue's clock shows."""
        if not self._settings.paper:
            return self._time.exchange_ms()
        if self._streams.market_time:
            return self._streams.market_time
        url = f"{self._settings.url.rstrip('/')}/paper/v1/clock"
        try:
            answer = await self._client.fetch(url)
        except ccxt.BaseError as error:
            raise ExchangeUnavailable(f"{url}: {type(error).__name__}") from error
        return int(answer["T"])

    async def _new_listen_key(self) -> str:
        answer = await self._requests.read(endpoints.LISTEN_KEY_NEW, use=Use.EXIT)
        key = answer.get("listenKey") if isinstance(answer, dict) else None
        if not key:
            raise ExchangeUnavailable("the answer carries no listen key")
        return str(key)

    async def _renew_listen_key(self) -> bool:
        try:
            await self._requests.read(endpoints.LISTEN_KEY_KEEP, use=Use.EXIT)
        except (ExchangeRefused, ExchangeUnavailable) as error:
            log.warning("listen_key_not_renewed", error=str(error))
            return False
        return True

    async def _probe(self) -> None:
        while True:
            await self._clock.sleep(self._settings.probe_seconds)
            reachable = self._requests.reachable
            await self._requests.probe()
            if reachable and not self._requests.reachable:
                # a socket may stay open and answer pings while nothing is told on it: who heard
                # nothing from the exchange for so long must not trust what it was told before
                self._client.drop("user", "requests are not answered")
