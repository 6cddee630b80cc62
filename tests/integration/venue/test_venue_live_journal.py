"""Steps of a live market cannot be had again, so the journal keeps them. Needs no internet."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from services.kit.clock import SystemClock
from services.trade.order import OrderType, Side
from services.venue.app import Supply, open_exchange
from services.venue.core.orders import OrderRequest
from services.venue.core.rules import VenueRules
from services.venue.core.snapshot import export
from services.venue.exchange import PaperExchange
from services.venue.markets.listing import symbol_rules
from services.venue.markets.live import LiveMarket
from services.venue.markets.live_ticks import Tick, candle_of
from services.venue.settings import VenueSettings

MINUTE = 60_000
RULES = VenueRules()


def live_market() -> LiveMarket:
    """Return a live market that heard three candles of history and nothing since."""
    rows = [[n * MINUTE, "100", "101", "99", "100", "50"] for n in range(3)]
    return LiveMarket(
        clock=SystemClock(),
        rules={"BTCUSDT": symbol_rules("BTCUSDT", tick=Decimal("0.1"), step=Decimal("0.001"))},
        history={"BTCUSDT": [candle_of("BTCUSDT", row) for row in rows]},
        funding_interval_ms=RULES.funding_interval_ms,
    )


def tick(time: int, price: str, *, closed: bool = False) -> Tick:
    """Return one message about the symbol."""
    open_time = (time // MINUTE - closed) * MINUTE
    bar = candle_of("BTCUSDT", [open_time, "100", "110", "90", price, "50"])
    return Tick("BTCUSDT", time, open_time, Decimal(price), Decimal(50), bar if closed else None)


async def hear(exchange: PaperExchange, market: LiveMarket, news: Tick) -> None:
    """Let the market say something and the exchange make a step of it."""
    market.take(news)
    await market.ready(exchange.number + 1)
    moment = market.at(exchange.number + 1)
    assert moment is not None
    exchange.advance(moment)


async def test_live_steps_are_recovered_from_the_journal(tmp_path: Path) -> None:
    settings = VenueSettings(venue_journal=tmp_path / "venue.sqlite")
    market = live_market()
    exchange = open_exchange(settings, RULES, Supply(market, market, market))
    assert exchange.time == 3 * MINUTE
    exchange.place(OrderRequest("BTCUSDT", Side.BUY, OrderType.MARKET, Decimal(2), "a"))
    await hear(exchange, market, tick(3 * MINUTE + 500, "101"))
    await hear(exchange, market, tick(4 * MINUTE + 20, "102", closed=True))
    assert exchange.engine.state.account.holding("BTCUSDT").quantity == 2
    assert exchange.time == 4 * MINUTE
    known = export(exchange.engine.state)
    exchange.journal.close()

    later = live_market()
    again = open_exchange(settings, RULES, Supply(later, later, later))
    assert export(again.engine.state) == known
    closed = later.candle("BTCUSDT", 3 * MINUTE)
    assert closed is not None and closed.close == 102
    again.journal.close()
