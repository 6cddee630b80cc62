"""Candles, filters, ids, times and the codec."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantum.market.v1 import market_pb2

from services.trade import codec, ids, times
from services.trade.candle import Candle
from services.trade.filters import SymbolFilters
from services.trade.order import OrderState
from services.trade.position import ExitReason

prices = st.decimals("0.00001", "1000000", places=5)


@st.composite
def candles(draw: st.DrawFn) -> Candle:
    body = [draw(prices), draw(prices)]
    return Candle(
        venue="paper",
        symbol="BTCUSDT",
        timeframe=draw(st.sampled_from(["1m", "5m", "15m", "1h"])),
        open_time=draw(st.integers(1, 10**8)) * 60_000,
        open=body[0],
        close=body[1],
        high=max(body) + draw(prices),
        low=min(*body, draw(prices)),
        volume=draw(st.decimals("0", "1000000", places=3)),
    )


@given(candles())
def test_a_candle_survives_the_wire(candle: Candle) -> None:
    assert codec.candle_from_pb(codec.candle_to_pb(candle)) == candle


@given(candles())
def test_a_path_has_the_candles_extremes_at_rising_times(candle: Candle) -> None:
    path = candle.path()
    assert [t for t, _ in path] == sorted(t for t, _ in path)
    assert (path[0], path[-1]) == (
        (candle.open_time, candle.open),
        (candle.close_time, candle.close),
    )
    assert {p for _, p in path} == {candle.open, candle.high, candle.low, candle.close}


def test_a_candle_whose_low_is_above_its_close_is_refused() -> None:
    with pytest.raises(ValueError, match="low"):
        Candle("v", "S", "1m", 0, *(Decimal(x) for x in ("10", "12", "11", "10", "1")))


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-10, max_value=10**9)
)
def test_a_decimal_survives_the_wire(value: Decimal) -> None:
    text = codec.decimal_to_pb(value)
    assert codec.decimal_from_pb(text, "x") == value
    assert "E" not in text


@pytest.mark.parametrize("text", ["", "NaN", "Infinity", "1,5", "one"])
def test_an_unreadable_decimal_is_an_error_that_names_its_field(text: str) -> None:
    with pytest.raises(codec.CodecError, match="price"):
        codec.decimal_from_pb(text, "price")


@pytest.mark.parametrize("number", [0, 99])
def test_an_unknown_enum_value_is_an_error(number: int) -> None:
    """Incident 11: an unknown value is never mapped to a benign one."""
    with pytest.raises(codec.CodecError):
        codec.enum_from_pb(ExitReason, number)


@pytest.mark.parametrize("state", OrderState)
def test_every_order_state_survives_the_wire(state: OrderState) -> None:
    assert codec.enum_from_pb(OrderState, codec.enum_to_pb(state)) is state


@given(st.decimals("0.000001", "1000000", places=6), st.sampled_from(["0.001", "1", "0.1", "5"]))
def test_rounding_keeps_to_the_step_and_to_its_side(quantity: Decimal, step: str) -> None:
    """Incident 38: quantities and prices are exact multiples of the symbol's own steps."""
    filters = SymbolFilters(
        "BTCUSDT",
        tick_size=Decimal("0.1"),
        step_size=Decimal(step),
        min_quantity=Decimal(step),
        max_quantity=Decimal(1000),
        market_max_quantity=Decimal(100),
        min_notional=Decimal(100),
    )
    down, up = filters.floor_quantity(quantity), filters.ceil_quantity(quantity)
    assert down % Decimal(step) == 0 and up % Decimal(step) == 0
    assert down <= quantity <= up and up - down <= Decimal(step)
    # what lies on the step stays, which no float can promise
    exact = quantity * 1_000_000 * Decimal(step)
    assert filters.floor_quantity(exact) == exact == filters.ceil_quantity(exact)


@given(st.text(min_size=1, max_size=60), st.integers(0, 10_000))
def test_client_order_ids_fit_binance_and_differ_by_leg(decision: str, number: int) -> None:
    legs = [ids.client_order_id("main", decision, leg, number % 10) for leg in ("entry", "stop")]
    assert all(len(i) <= ids.CLIENT_ORDER_ID_LENGTH for i in legs)
    assert legs[0] != legs[1]
    assert legs[0] == ids.client_order_id("main", decision, "entry", number % 10)


@pytest.mark.parametrize("text", ["", "1", "m", "0m", "1x", "-1m"])
def test_an_unknown_timeframe_is_an_error(text: str) -> None:
    """Incident 79: an impossible time is an error."""
    with pytest.raises(ValueError, match="timeframe"):
        times.timeframe_ms(text)


@given(st.integers(0, 4 * 10**12))
def test_times_survive_datetimes(time_ms: int) -> None:
    assert times.from_datetime(times.to_datetime(time_ms)) == time_ms
    assert times.day_start(time_ms) <= time_ms < times.day_start(time_ms) + times.DAY_MS


_NUMBERS = st.one_of(
    st.sampled_from(["", "NaN", "sNaN", "inf", "-Infinity", "0", "-1", "1e999999", "1", "2", "x"]),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.text(max_size=4),
)


@given(
    st.lists(_NUMBERS, min_size=5, max_size=5),
    st.sampled_from(["1m", "15m", "", "0m", "1y", "m"]),
    st.integers(-(10**12), 10**12),
    st.integers(-(10**9), 10**9),
)
def test_any_candle_message_is_a_candle_or_a_named_error(
    numbers: list[str], timeframe: str, seconds: int, nanos: int
) -> None:
    """NaN, zero or negative prices, high below low, impossible times: an error, never a candle."""
    names = ("open", "high", "low", "close", "volume")
    message = market_pb2.Candle(
        venue="paper",
        symbol="BTCUSDT",
        timeframe=timeframe,
        **dict(zip(names, numbers, strict=True)),  # type: ignore[arg-type]
    )
    message.open_time.seconds, message.open_time.nanos = seconds, nanos
    message.close_time.seconds, message.close_time.nanos = seconds + 60, nanos
    try:
        found = codec.candle_from_pb(message)
    except codec.CodecError:
        return
    assert 0 < found.low <= min(found.open, found.close)
    assert found.high >= max(found.open, found.close)
    assert found.volume >= 0
    assert found.close_time == (seconds + 60) * 1000 + nanos // 1_000_000
