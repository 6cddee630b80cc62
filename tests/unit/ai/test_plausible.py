"""A candle from a wrong time moves nothing; a market that goes on after an outage does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.core.plausible import FAR_BARS, MarketTime
from services.trade.candle import Candle
from tests.unit.ai.candle_samples import MINUTE, START, candle


def taken(time: MarketTime, *candles: Candle) -> list[Candle]:
    return [believed for one in candles for believed in time.take([one])]


def test_a_market_that_goes_on_is_believed_at_once() -> None:
    series = [candle(n, s) for n in range(200) for s in ("A", "B")]
    assert taken(MarketTime(), *series) == series


@pytest.mark.parametrize("ahead", [FAR_BARS + 1, 1440, 525_600])
def test_one_candle_of_the_future_is_held_back_and_the_rest_goes_on(ahead: int) -> None:
    time = MarketTime()
    assert taken(time, candle(0), candle(ahead, "BAD"), candle(1), candle(2)) == [
        candle(0), candle(1), candle(2),
    ]  # fmt: skip


def test_a_repeat_of_it_confirms_nothing() -> None:
    time = MarketTime()
    bad = candle(1000, "BAD")
    assert taken(time, candle(0), bad, bad, bad) == [candle(0)]


@pytest.mark.parametrize("second", [candle(1000, "B"), candle(1001, "A"), candle(1001, "B")])
def test_after_an_outage_the_second_candle_confirms_the_first(second: Candle) -> None:
    time = MarketTime()
    assert taken(time, candle(0, "A"), candle(1000, "A")) == [candle(0, "A")]
    assert taken(time, second) == [candle(1000, "A"), second]
    assert taken(time, candle(1001, "C")) == [candle(1001, "C")]


def test_two_wrong_times_that_do_not_agree_confirm_nothing() -> None:
    time = MarketTime()
    assert taken(time, candle(0), candle(5000, "BAD"), candle(900_000, "BAD2")) == [candle(0)]
    assert taken(time, candle(1)) == [candle(1)]


@given(st.lists(st.integers(-500_000, FAR_BARS), max_size=30))
def test_old_candles_are_never_held_back(numbers: list[int]) -> None:
    time = MarketTime()
    time.take([candle(0)])
    for number in numbers:
        old = candle(0, "OLD", open_time=START + number * MINUTE)
        assert time.take([old]) == [old]


@given(
    st.lists(
        st.tuples(st.integers(0, 5 * FAR_BARS), st.sets(st.sampled_from("ABC"), min_size=1)),
        max_size=12,
    )
)
def test_a_round_at_once_is_believed_as_its_candles_one_by_one(
    rounds: list[tuple[int, set[str]]],
) -> None:
    together, alone = MarketTime(), MarketTime()
    for number, symbols in rounds:
        closed = [candle(number, symbol) for symbol in sorted(symbols)]
        assert together.take(closed) == taken(alone, *closed)


def test_venues_have_times_of_their_own() -> None:
    time = MarketTime()
    other = candle(100_000, venue="binance")
    assert taken(time, candle(0), other) == [candle(0), other]
