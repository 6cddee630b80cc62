"""The live market's conversions: Binance's public messages become steps."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.venue.markets.live_ticks import Gathering, Tick, candle_of, rules_of, tick_of

MINUTE = 60_000
EIGHT_HOURS = 480 * MINUTE


def message(
    symbol: str, time: int, price: str, *, volume: str = "1", closed: bool = False
) -> dict[str, Any]:
    """Return a kline message as Binance sends it."""
    open_time = (time // MINUTE - closed) * MINUTE
    bar = {"t": open_time, "o": "10", "h": "12", "l": "9", "c": price, "v": volume, "x": closed}
    return {"e": "kline", "E": time, "s": symbol, "k": bar}


def tick(symbol: str, time: int, price: str, **more: Any) -> Tick:
    """Return the tick of such a message."""
    return tick_of(message(symbol, time, price, **more))


def test_messages_between_two_points_become_one_step() -> None:
    gathering = Gathering(EIGHT_HOURS, 0)
    for time, price, volume in ((100, "10", "1"), (350, "10.5", "4"), (600, "11", "6")):
        gathering.take(tick("BTCUSDT", time, price, volume=volume))
    gathering.take(tick("ETHUSDT", 500, "9.5"))
    step = gathering.moment(1, {}).step
    assert [(p.symbol, p.price, p.volume) for p in step.points] == [
        ("BTCUSDT", Decimal(11), Decimal(6)),
        ("ETHUSDT", Decimal("9.5"), Decimal(1)),
    ]
    assert (step.time, step.closed) == (600, ())
    assert not gathering.open


def test_price_moves_without_gap_only_while_news_keep_coming() -> None:
    gathering = Gathering(EIGHT_HOURS, 0)
    told = []
    for number, time in enumerate((100, 900, 20_000, 20_100), start=1):
        gathering.take(tick("BTCUSDT", time, "10"))
        told.append(gathering.moment(number, {}).step.points[0].continuous)
    assert told == [False, True, False, True]


def test_round_closes_at_the_candles_own_time() -> None:
    gathering = Gathering(EIGHT_HOURS, 0)
    symbols = ("BTCUSDT", "ETHUSDT")
    gathering.take(tick("BTCUSDT", MINUTE + 12, "11", closed=True))
    assert gathering.closing(symbols) == (True, False)
    gathering.take(tick("ETHUSDT", MINUTE + 40, "10", closed=True))
    assert gathering.closing(symbols) == (True, True)
    step = gathering.moment(1, {}).step
    assert step.time == MINUTE
    assert [candle.symbol for candle in step.closed] == ["BTCUSDT", "ETHUSDT"]
    assert step.closed[0].close == 11


def test_time_never_goes_back() -> None:
    gathering = Gathering(EIGHT_HOURS, 0)
    gathering.take(tick("BTCUSDT", MINUTE + 300, "11"))
    first = gathering.moment(1, {}).step
    gathering.take(tick("ETHUSDT", MINUTE + 100, "10", closed=True))
    assert gathering.moment(2, {}).step.time == first.time


def test_funding_falls_due_when_its_time_is_passed() -> None:
    gathering = Gathering(EIGHT_HOURS, EIGHT_HOURS - 1000)
    rates = {"BTCUSDT": Decimal("0.0001")}
    gathering.take(tick("BTCUSDT", EIGHT_HOURS - 1, "11"))
    assert gathering.moment(1, rates).funding == {}
    gathering.take(tick("BTCUSDT", EIGHT_HOURS + 20, "11"))
    assert gathering.moment(2, rates).funding == rates
    gathering.take(tick("BTCUSDT", EIGHT_HOURS + 900, "11"))
    assert gathering.moment(3, rates).funding == {}


def test_rest_row_and_rules_are_read_exactly() -> None:
    candle = candle_of("BTCUSDT", [60_000, "1.10", "1.3", "1.0", "1.20", "5.500", 119_999, "0"])
    assert (candle.open_time, candle.close, candle.volume) == (
        60_000,
        Decimal("1.2"),
        Decimal("5.5"),
    )
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
        {"filterType": "MARKET_LOT_SIZE", "maxQty": "120"},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
    ]
    rules = rules_of({"symbol": "BTCUSDT", "filters": filters}).filters
    assert str(rules.tick_size) == "0.1"
    assert rules.market_max_quantity == 120
