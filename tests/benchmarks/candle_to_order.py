"""Candle to order: all processes, against each part of the way alone in the same run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import numpy as np
from nats.aio.msg import Msg

from services.ai.artifact import LoadedModel, active_folder, load
from services.ai.inference import padded
from services.ai.settings import SHIPPED_MODELS
from services.catalog import subjects
from services.ctl.servers.nats import NatsServer
from services.ctl.servers.postgres import PostgresServer
from services.exec_risk.core.exchange_events import Accepted
from services.exec_risk.exchange.binance import BinanceExchange
from services.exec_risk.exchange.settings import ExchangeSettings
from services.exec_risk.market.bus_candles import BusCandles
from services.kit.bus.bus import Bus, Outgoing
from services.kit.clock import SystemClock
from services.trade.candle import Candle
from services.trade.ids import digest
from services.trade.order import Order, OrderPurpose, OrderType, Side
from services.venue.app import RunningVenue, start_venue
from services.venue.core.orders import OrderRequest, VenueOrder
from services.venue.settings import VenueSettings
from tests.benchmarks.processes import command, service
from tests.benchmarks.rows import Row, percentile
from tests.benchmarks.walk import rounds

P50_AIM, P99_AIM = 2.0, 4.0
SAMPLES = 150
LONGEST_SECONDS = 150.0
STREAM_SECONDS = 30.0
_OUTPUTS = ["valid", "atr_fraction", "model_probs", "probs"]


@dataclass(frozen=True, slots=True)
class Stack:
    """The running parts."""

    nats: NatsServer
    dsn: str
    venue: RunningVenue
    home: Path

    def environment(self) -> dict[str, str]:
        """Settings of all services; the limits let every round enter, to have samples."""
        return {
            "NATS_URL": self.nats.url,
            "ANALYTICS_POSTGRES_URL": self.dsn,
            "EXEC_RISK_POSTGRES_URL": self.dsn,
            "FUND_POLICY_REQUIRED": "false",
            "PAPER_VENUE_URL": self.venue.url,
            "SIGNAL_SHARE": "0.5",
            "ENTRY_COOLDOWN_SECONDS": "0",
            "MAX_HOLDING_MINUTES": "1",
            "MAX_DAILY_DRAWDOWN_PERCENT": "100",
            "EMERGENCY_STOP_THRESHOLD_PERCENT": "100",
            "MAX_ORDERS_PER_MINUTE": "1000",
            "MAX_TRADES_PER_DAY": "100000",
            "MAX_SYMBOL_LOSSES": "100000",
            "CAUTIOUS_LOSSES_IN_A_ROW": "99999",
            "EMERGENCY_LOSSES_IN_A_ROW": "100000",
            "GRPC_ADDRESS": "127.0.0.1:0",
        }


class Entries:
    """Knows when the first entry of each round reached the venue."""

    def __init__(self, venue: RunningVenue) -> None:
        self.wall: dict[int, float] = {}
        """Wall time, seconds, by the market time of the round."""
        self._exchange = venue.exchange
        self._place = venue.exchange.place
        venue.exchange.place = self._noted  # type: ignore[method-assign] # a probe at the door

    def _noted(self, request: OrderRequest) -> VenueOrder:
        if not request.reduce_only:
            self.wall.setdefault(self._exchange.time, time.time())
        return self._place(request)

    def seconds(self, published: dict[int, float]) -> list[float]:
        """Return the time from candle to order of each round, in the order of the rounds."""
        return [self.wall[t] - published[t] for t in sorted(self.wall) if t in published]


async def measure(home: Path) -> list[Row]:
    """Return the rows of the median and of the slowest hundredth."""
    async with stack(home) as parts:
        whole = await _whole_path(parts)
        floor = await _floors(parts)
    return [
        _row("p50", percentile(whole, 0.5), percentile(floor, 0.5), P50_AIM, len(whole)),
        _row("p99", percentile(whole, 0.99), percentile(floor, 0.99), P99_AIM, len(whole)),
    ]


def _row(name: str, whole: float, floor: float, aim: float, samples: int) -> Row:
    return Row(
        path=f"candle published to order at the venue, {name}",
        measured=f"{whole * 1e3:.1f} ms ({samples} rounds)",
        floor=f"parts alone {floor * 1e3:.1f} ms",
        ratio=whole / floor,
        aim=aim,
        higher_is_better=False,
        numbers={"whole_ms": whole * 1e3, "floor_ms": floor * 1e3, "samples": samples},
    )


@asynccontextmanager
async def stack(home: Path) -> AsyncIterator[Stack]:
    venue = VenueSettings(
        venue_speed=0,
        venue_order_limit_10s=1_000_000,
        venue_order_limit_1m=1_000_000,
        venue_weight_limit=10_000_000,
    )
    async with AsyncExitStack() as running:
        nats = await running.enter_async_context(NatsServer.start(home / "nats"))
        pg = await running.enter_async_context(PostgresServer.start(home / "pg"))
        market = await running.enter_async_context(start_venue(venue))
        bus = await Bus.connect(nats.url, "bench")
        await bus.declare(subjects.STREAMS)
        await bus.close()
        yield Stack(nats, pg.dsn(), market, home)


async def _whole_path(parts: Stack) -> list[float]:
    environment, entries = parts.environment(), Entries(parts.venue)
    for module in ("services.exec_risk", "services.analytics"):
        await command(module, "migrate", environment)
    async with AsyncExitStack() as running:
        for module in ("services.ai", "services.analytics", "services.exec_risk"):
            log = parts.home / f"{module}.log"
            await running.enter_async_context(service(module, environment, log))
        deadline = time.monotonic() + LONGEST_SECONDS
        while len(entries.wall) < SAMPLES and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
    seconds = entries.seconds(await _published(parts))
    if len(seconds) < SAMPLES // 5:
        logs = " ".join(str(p) for p in parts.home.glob("*.log"))
        raise RuntimeError(f"only {len(seconds)} rounds led to an entry; see {logs}")
    # the first rounds open connections and fill caches
    return seconds[len(seconds) // 10 :]


async def _published(parts: Stack) -> dict[int, float]:
    """Return when the stream stored the first candle of each round, by market time.

    It is read back from the stream: a subscriber would learn it late, and take processor time.
    """
    bus = await Bus.connect(parts.nats.url, "bench-read")
    stored: dict[int, float] = {}
    done = asyncio.Event()

    async def read(message: Msg) -> None:
        headers, when = message.headers or {}, message.metadata.timestamp.timestamp()
        if subjects.HEADER_HISTORY not in headers:
            round_time = int(headers[subjects.HEADER_TIME])
            stored[round_time] = min(when, stored.get(round_time, when))
        if not message.metadata.num_pending:
            done.set()

    await bus.client.jetstream().subscribe(
        subjects.ALL_CANDLES, stream=subjects.MARKET.name, cb=read, ordered_consumer=True
    )
    async with asyncio.timeout(STREAM_SECONDS):
        await done.wait()
    await bus.close()
    return stored


async def _floors(parts: Stack) -> list[float]:
    """Return what the parts take one after another, each alone, in seconds."""
    symbols = sorted(parts.venue.exchange.market.symbols)
    table = rounds([f"X{s}" for s in symbols], 60, seed=2)
    bus = await Bus.connect(parts.nats.url, "bench-floor")
    connection = await asyncpg.connect(parts.dsn)
    await connection.execute("create table floor (id bigserial primary key, body text)")
    exchange = floor_exchange(parts)
    order = await floor_order(parts, exchange)
    model, taken = load(active_folder(SHIPPED_MODELS)), []
    # one term: its first candle reads back what the stream holds
    candles = BusCandles(bus)
    try:
        for number, bars in enumerate(table):
            sent = replace(order, client_order_id=f"qtf{number}-floor")
            taken.append(await _one_floor(bus, candles, connection, exchange, model, bars, sent))
    finally:
        await exchange.close()
        await connection.close()
        await bus.close()
    return taken[len(taken) // 10 :]


async def _one_floor(
    bus: Bus,
    candles: BusCandles,
    connection: asyncpg.Connection,
    exchange: BinanceExchange,
    model: LoadedModel,
    bars: list[Candle],
    order: Order,
) -> float:
    window = padded(np.full((len(bars), model.manifest.window, 5), 100, dtype=np.float32))
    answers = [
        Outgoing(subjects.signal(bar.symbol), bytes(200), digest("floor", bar.key), {})
        for bar in bars
    ]
    began = time.perf_counter()
    await candles.publish(bars, history=False)
    model.session.run(_OUTPUTS, {"window": window})
    await bus.publish_all(answers)
    await connection.execute("insert into floor (body) values ($1)", "x" * 500)
    outcome = await exchange.place(order, signed_at=time.time_ns() // 1_000_000)
    seconds = time.perf_counter() - began
    if not isinstance(outcome, Accepted):
        # a refusal is cheaper than an order
        raise RuntimeError(f"the floor's order was not accepted: {outcome}")
    return seconds


def floor_exchange(parts: Stack) -> BinanceExchange:
    """Return a client of the venue without streams."""
    return BinanceExchange(
        ExchangeSettings(
            venue="paper",
            timeframe="1m",
            url=parts.venue.url,
            api_key="paper-key",
            api_secret="paper-secret",
        ),
        SystemClock(),
    )


async def floor_order(parts: Stack, exchange: BinanceExchange) -> Order:
    """Return an order that the venue takes, without a client order id."""
    symbol = min(parts.venue.exchange.market.symbols)
    filters = (await exchange.filters())[symbol]
    price = parts.venue.exchange.engine.state.marks[symbol]
    return Order(
        client_order_id="",
        account="main",
        symbol=symbol,
        side=Side.BUY,
        type=OrderType.MARKET,
        purpose=OrderPurpose.ENTRY,
        quantity=filters.ceil_quantity(2 * filters.min_notional / price),
        decided_time=0,
    )
