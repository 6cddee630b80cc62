"""Where the venue is put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from aiohttp import web

from services.kit.clock import Clock, SystemClock
from services.kit.observe.logs import get_logger
from services.kit.observe.telemetry import Telemetry
from services.kit.process import Process
from services.kit.server import Servicers
from services.trade.times import from_datetime, timeframe_ms
from services.venue.core.engine import Engine
from services.venue.core.rules import VenueRules
from services.venue.exchange import MomentLog, PaperExchange
from services.venue.markets.feed import ReplayFeed
from services.venue.markets.generated import GeneratedMarket
from services.venue.markets.market import Market
from services.venue.markets.recorded import RecordedMarket, RecordingError
from services.venue.pacing import Clockwork, Source
from services.venue.server.account_routes import AccountRoutes
from services.venue.server.books import Books
from services.venue.server.bulk_routes import BulkRoutes
from services.venue.server.candles import Candles
from services.venue.server.fault_host import FaultHost
from services.venue.server.fault_routes import FaultRoutes
from services.venue.server.faulty_replies import FaultyReplies
from services.venue.server.faulty_streams import FaultyStreams, Sockets
from services.venue.server.http import HttpServer
from services.venue.server.limits import Limits
from services.venue.server.market_routes import MarketRoutes
from services.venue.server.paper import PaperClock
from services.venue.server.quotes import Quotes
from services.venue.server.security import Keys
from services.venue.server.sockets import ListenKey
from services.venue.server.streams import Streams
from services.venue.server.trade_routes import TradeRoutes
from services.venue.settings import VenueSettings
from services.venue.store import Journal, JournalError

log = get_logger(__name__)

_WATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class RunningVenue:
    """A venue that accepts connections."""

    url: str
    """`http://host:port`, without a path."""
    ws_url: str
    """`ws://host:port`, without a path."""
    exchange: PaperExchange
    clockwork: Clockwork
    faults: FaultHost
    stepping: asyncio.Task[None]
    """Ends when the market ends; its failure is the venue's."""


@dataclass(frozen=True, slots=True)
class Supply:
    """A market, where its steps come from, and how they are written when that is needed."""

    market: Market
    source: Source
    log: MomentLog | None = None


async def build(process: Process) -> Servicers:
    """Start the venue and watch it; it serves no gRPC service of its own."""
    settings = process.settings
    if not isinstance(settings, VenueSettings):
        raise TypeError(f"the venue needs VenueSettings, not {type(settings).__name__}")
    running = start_venue(settings, clock=process.clock, telemetry=process.telemetry)
    try:
        venue = await running.__aenter__()
    except (RecordingError, JournalError, OSError) as error:
        log.critical("venue_cannot_start", reason=str(error))
        raise SystemExit(2) from None

    async def stop() -> None:
        await running.__aexit__(None, None, None)

    process.on_stop(stop)
    _export(process, venue)
    process.spawn("market", _follow(process, venue))
    process.components.set("venue", True)
    return []


@asynccontextmanager
async def start_venue(
    settings: VenueSettings,
    *,
    clock: Clock | None = None,
    telemetry: Telemetry | None = None,
) -> AsyncIterator[RunningVenue]:
    """Run a venue until the block is left."""
    clock = clock or SystemClock()
    rules = VenueRules(
        order_latency_ms=settings.venue_order_latency_ms,
        cancel_latency_ms=settings.venue_cancel_latency_ms,
    )
    async with open_supply(settings, rules, clock) as supply:
        exchange = open_exchange(settings, rules, supply)
        clockwork = Clockwork(
            exchange=exchange,
            source=supply.source,
            clock=clock,
            pace=settings.venue_pace,
            speed=settings.venue_speed,
        )
        host = FaultHost(exchange, clock)
        server, paper = _server(settings, exchange, clockwork, clock, host, telemetry)
        runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stepping = asyncio.create_task(clockwork.run(paper), name="venue-steps")
        ending = asyncio.create_task(host.run(), name="venue-faults")
        try:
            address, port = await _listen(runner, settings.venue_listen)
            log.info(
                "venue_listens",
                url=f"http://{address}:{port}",
                market=supply.market.name,
                step=exchange.number,
                pace=settings.venue_pace,
                speed=settings.venue_speed,
            )
            yield RunningVenue(
                f"http://{address}:{port}",
                f"ws://{address}:{port}",
                exchange,
                clockwork,
                host,
                stepping,
            )
        finally:
            for task in (stepping, ending):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await runner.cleanup()
            exchange.journal.close()


@asynccontextmanager
async def open_supply(
    settings: VenueSettings, rules: VenueRules, clock: Clock
) -> AsyncIterator[Supply]:
    """Open the market that the settings name."""
    if settings.venue_market == "live":
        from services.venue.markets.live import open_live

        async with open_live(clock, rules.funding_interval_ms) as live:
            yield Supply(live, live, live)
        return
    market = _replayable(settings)
    yield Supply(market, ReplayFeed(market, rules.funding_interval_ms))


def _replayable(settings: VenueSettings) -> Market:
    if settings.venue_market == "generated":
        return GeneratedMarket(settings.venue_seed)
    return RecordedMarket(Path(settings.venue_market))


def open_exchange(settings: VenueSettings, rules: VenueRules, supply: Supply) -> PaperExchange:
    """Open the journal and bring the engine to where it ends."""
    market = supply.market
    engine = Engine(
        rules=rules,
        symbols=market.symbols,
        seed=settings.venue_seed,
        balance=settings.venue_balance,
        start=market.start,
    )
    engine.set_marks(_first_marks(market))
    identity = {
        "market": market.name,
        "seed": str(settings.venue_seed),
        "balance": str(settings.venue_balance),
        "rules": repr(rules),
    }
    journal = Journal(settings.venue_journal, identity)
    exchange = PaperExchange(engine=engine, market=market, journal=journal, log=supply.log)
    replayed = exchange.recover(supply.source)
    if exchange.number:
        log.info("venue_recovered", step=exchange.number, replayed=replayed)
    return exchange


def _first_marks(market: Market) -> dict[str, Decimal]:
    """Return where the symbols that trade from the start stand before it."""
    last_open = market.start - timeframe_ms(market.timeframe)
    found = {
        symbol: market.candle(symbol, last_open)
        for symbol in market.symbols
        if market.trades_from(symbol) <= market.start
    }
    return {symbol: candle.close for symbol, candle in found.items() if candle is not None}


def _server(
    settings: VenueSettings,
    exchange: PaperExchange,
    clockwork: Clockwork,
    clock: Clock,
    host: FaultHost,
    telemetry: Telemetry | None,
) -> tuple[HttpServer, PaperClock]:
    def wall_ms() -> int:
        return from_datetime(clock.now())

    candles, quotes, books = Candles(exchange), Quotes(exchange), Books(exchange)
    faulty = FaultyStreams(host, Sockets(user=set(), market=set(), paper=set()))
    streams = Streams(exchange, candles, quotes, books, wall_ms, faulty)
    paper = PaperClock(exchange, streams, clockwork, faulty)
    host.on_close, host.on_end = faulty.close, paper.tell_again
    keys = Keys(settings.venue_api_key, settings.venue_api_secret.get_secret_value())
    listen_key = ListenKey(settings.venue_api_key, wall_ms)
    limits = Limits(
        weight=settings.venue_weight_limit,
        orders_10s=settings.venue_order_limit_10s,
        orders_1m=settings.venue_order_limit_1m,
    )
    routes = {
        **MarketRoutes(exchange, candles, quotes, books, limits, host.wall_ms).table(),
        **TradeRoutes(exchange).table(),
        **BulkRoutes(exchange).table(),
        **AccountRoutes(exchange, listen_key).table(),
    }
    server = HttpServer(
        routes=routes,
        keys=keys,
        limits=limits,
        listen_key=listen_key,
        streams=streams,
        paper=paper,
        replies=FaultyReplies(host),
        faulty=faulty,
        faults=FaultRoutes(host, keys),
        symbols=lambda: sorted(exchange.market.symbols),
        wall_ms=host.wall_ms,
        limit_ms=lambda: wall_ms() + exchange.time,
        telemetry=telemetry,
    )
    return server, paper


async def _listen(runner: web.AppRunner, address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    site = web.TCPSite(runner, host, int(port))
    await site.start()
    bound = runner.addresses[0]
    return str(bound[0]), int(bound[1])


async def _follow(process: Process, venue: RunningVenue) -> None:
    """Show progress; end the process when stepping fails."""
    while True:
        if venue.stepping.done() and not venue.stepping.cancelled():
            venue.stepping.result()
        process.progress["step"] = float(venue.exchange.number)
        process.progress["market_time_ms"] = float(venue.exchange.time)
        await process.clock.sleep(_WATCH_SECONDS)


def _export(process: Process, venue: RunningVenue) -> None:
    state = venue.exchange.engine.state
    process.metrics.gauge("step", "Number of the market's last step.").set_function(
        lambda: venue.exchange.number
    )
    process.metrics.gauge("market_time_seconds", "Market time.").set_function(
        lambda: venue.exchange.time / 1000
    )
    process.metrics.gauge("wallet_balance", "Wallet of the paper account, USDT.").set_function(
        lambda: float(state.account.wallet)
    )
    process.metrics.gauge("faults", "Faults that the venue was told to have.").set_function(
        lambda: len(venue.faults.active())
    )
    process.metrics.gauge("open_orders", "Open plain and conditional orders.").set_function(
        lambda: len(state.book.orders) + len(state.book.conditionals)
    )
