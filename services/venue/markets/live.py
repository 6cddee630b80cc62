"""The live market: Binance's public data through ccxt, without keys; fills are paper.

Last prices become points, at most four a second for all symbols together; the candles that
Binance closes at one time become one closing step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.trade.candle import Candle
from services.venue.core.rules import SymbolRules
from services.venue.markets.feed import Moment, pack_moment, unpack_moment
from services.venue.markets.live_ticks import Gathering, Tick, candle_of, rules_of, tick_of
from services.venue.markets.market import HISTORY

log = get_logger(__name__)

SYMBOLS = (
    "ADAUSDT",
    "BNBUSDT",
    "BTCUSDT",
    "DOGEUSDT",
    "ETHUSDT",
    "LINKUSDT",
    "SOLUSDT",
    "XRPUSDT",
)
_POINT_SECONDS = 0.25
_CLOSE_WAIT_SECONDS = 2.0
"""How long the candles of one round are waited for after the first of them."""
_FUNDING_SECONDS = 60.0


class LiveMarket:
    """Binance's market as it happens; also the source of its steps and their log."""

    name = "live"
    timeframe = "1m"

    def __init__(
        self,
        *,
        clock: Clock,
        rules: Mapping[str, SymbolRules],
        history: Mapping[str, Sequence[Candle]],
        funding_interval_ms: int,
    ) -> None:
        self._clock = clock
        self.symbols: Mapping[str, SymbolRules] = rules
        self._candles = {
            symbol: {candle.open_time: candle for candle in rows}
            for symbol, rows in history.items()
        }
        self.start = max(rows[-1].close_time for rows in history.values())
        self._gathering = Gathering(funding_interval_ms, self.start)
        self._rates: dict[str, Decimal] = {}
        self._news = asyncio.Event()
        self._moments: dict[int, Moment] = {}

    def trades_from(self, symbol: str) -> int:
        """Return the start: all symbols trade from there."""
        del symbol
        return self.start

    def history_from(self, symbol: str) -> int:
        """Return the open time of the first candle that is known."""
        return min(self._candles[symbol])

    def round(self, index: int) -> dict[str, Candle] | None:
        """A live market has no rounds beforehand."""
        raise RuntimeError(f"round {index} of a live market cannot be known")

    def candle(self, symbol: str, open_time: int) -> Candle | None:
        """Return a closed candle that is known."""
        return self._candles.get(symbol, {}).get(open_time)

    def funding_rate(self, symbol: str, time: int) -> Decimal:
        """Return the last known rate."""
        del time
        return self._rates.get(symbol, Decimal(0))

    def set_rates(self, rates: Mapping[str, Decimal]) -> None:
        """Take new funding rates."""
        self._rates.update(rates)

    def take(self, tick: Tick) -> None:
        """Take one tick."""
        if tick.symbol not in self.symbols:
            return
        if tick.closed is not None:
            self._candles[tick.symbol][tick.open_time] = tick.closed
        self._gathering.take(tick)
        self._news.set()

    def at(self, number: int) -> Moment | None:
        """Return the step that `ready` has made."""
        return self._moments.get(number)

    def ends_with(self, number: int) -> bool:
        """A live market does not end."""
        del number
        return False

    async def ready(self, number: int) -> None:
        """Wait for news and make a step of it."""
        await self._clock.sleep(_POINT_SECONDS)
        while not self._gathering.open:
            self._news.clear()
            await self._news.wait()
        names = tuple(self.symbols)
        until = self._clock.monotonic() + _CLOSE_WAIT_SECONDS
        while self._gathering.closing(names) == (True, False) and self._clock.monotonic() < until:
            await self._clock.sleep(_POINT_SECONDS / 5)
        self._moments = {number: self._gathering.moment(number, self._rates)}

    def pack(self, moment: Moment) -> dict[str, Any]:
        """Return a moment as JSON-able data."""
        return pack_moment(moment)

    def unpack(self, data: dict[str, Any]) -> Moment:
        """Return the moment that was packed, its candles known to the market."""
        moment = unpack_moment(data)
        for candle in moment.step.closed:
            self._candles.setdefault(candle.symbol, {})[candle.open_time] = candle
        return moment


@asynccontextmanager
async def open_live(clock: Clock, funding_interval_ms: int) -> AsyncIterator[LiveMarket]:
    """Connect to Binance's public data; it stays connected until the block is left."""
    import ccxt.pro

    ticks: list[LiveMarket] = []

    class Listener(ccxt.pro.binanceusdm):  # type: ignore[misc]
        """ccxt drops the closed flag and, in bursts, whole updates: take the raw messages."""

        def handle_ohlcv(self, client: Any, message: Any) -> Any:
            """Pass every kline message on before ccxt handles it."""
            for market in ticks:
                market.take(tick_of(message))
            return super().handle_ohlcv(client, message)

    client = Listener({"options": {"fetchCurrencies": False, "fetchMargins": False}})
    tasks: list[asyncio.Task[None]] = []
    try:
        market = await _load(client, clock, funding_interval_ms)
        ticks.append(market)
        tasks = [
            asyncio.create_task(_follow_klines(client, clock), name="live-klines"),
            asyncio.create_task(_follow_funding(client, market, clock), name="live-funding"),
        ]
        yield market
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()


async def _load(client: Any, clock: Clock, funding_interval_ms: int) -> LiveMarket:
    markets = await client.load_markets()
    listed = {m["id"]: m["info"] for m in markets.values() if m["id"] in SYMBOLS}
    history = {}
    for symbol in listed:
        request = {"symbol": symbol, "interval": "1m", "limit": HISTORY + 1}
        rows = await client.fapiPublicGetKlines(request)
        history[symbol] = [candle_of(symbol, row) for row in rows[:-1]]
    rules = {symbol: rules_of(info) for symbol, info in listed.items()}
    return LiveMarket(
        clock=clock, rules=rules, history=history, funding_interval_ms=funding_interval_ms
    )


async def _follow_klines(client: Any, clock: Clock) -> None:
    """Keep the kline socket alive; messages are taken in `handle_ohlcv`."""
    from ccxt import BaseError

    wanted = [[client.safe_symbol(symbol), "1m"] for symbol in SYMBOLS]
    while True:
        try:
            await client.watch_ohlcv_for_symbols(wanted)
        except BaseError as error:
            log.warning("live_klines_interrupted", error=str(error))
            await clock.sleep(1.0)


async def _follow_funding(client: Any, market: LiveMarket, clock: Clock) -> None:
    from ccxt import BaseError

    while True:
        try:
            rows = await client.fapiPublicGetPremiumIndex()
            known = {row["symbol"]: Decimal(row["lastFundingRate"] or "0") for row in rows}
            market.set_rates({s: rate for s, rate in known.items() if s in market.symbols})
        except BaseError as error:
            log.warning("live_funding_unread", error=str(error))
        await clock.sleep(_FUNDING_SECONDS)
