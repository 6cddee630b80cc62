"""Windows are a function of the candles, not of how they arrived."""

from __future__ import annotations

import random
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.core.windows import Insert, SeriesKey, Windows
from services.trade.float32 import candle_rows
from tests.unit.ai.candle_samples import MINUTE, START, candle

KEY = SeriesKey("paper", "BTCUSDT", "1m")


def filled(numbers: list[int], capacity: int = 32) -> Windows:
    windows = Windows(capacity=capacity)
    for number in numbers:
        windows.insert(candle(number))
    return windows


def state(windows: Windows) -> list[bytes | None]:
    found = [windows.window(KEY, START + n * MINUTE, 5) for n in range(-5, 130)]
    return [None if w is None else w.tobytes() for w in found]


@given(st.lists(st.integers(0, 120), min_size=1, max_size=200), st.randoms(use_true_random=False))
def test_order_and_duplicates_do_not_matter(numbers: list[int], shuffler: random.Random) -> None:
    other = numbers + [n for n in numbers if n % 3 == 0]
    shuffler.shuffle(other)
    assert state(filled(numbers)) == state(filled(other))


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(0, 60), st.integers(1, 32))
def test_a_window_is_there_exactly_when_all_its_bars_are(
    numbers: set[int], end: int, length: int
) -> None:
    windows = filled(sorted(numbers))
    wanted = list(range(end - length + 1, end + 1))
    kept = {n for n in numbers if n > max(numbers) - 32 or not numbers & {n + 32}}
    found = windows.window(KEY, START + end * MINUTE, length)
    if set(wanted) <= kept:
        assert found is not None
        assert np.array_equal(found, candle_rows([candle(n) for n in wanted]))
    else:
        assert found is None


def test_a_window_ends_at_its_candle_even_if_newer_ones_came() -> None:
    windows = filled(list(range(20)))
    before = windows.window(KEY, START + 9 * MINUTE, 8)
    windows.insert(candle(20))
    after = windows.window(KEY, START + 9 * MINUTE, 8)
    assert before is not None
    assert after is not None
    assert np.array_equal(before, after)


def test_a_window_is_a_copy() -> None:
    windows = filled(list(range(10)))
    first = windows.window(KEY, START + 9 * MINUTE, 8)
    assert first is not None
    first[:] = 0
    again = windows.window(KEY, START + 9 * MINUTE, 8)
    assert again is not None
    assert again.all()


def test_what_becomes_of_a_candle() -> None:
    windows = Windows(capacity=32)
    assert windows.insert(candle(40)) is Insert.STORED
    assert windows.insert(candle(40)) is Insert.DUPLICATE
    changed = candle(40, volume=Decimal(11))
    assert windows.insert(changed) is Insert.CONFLICT
    assert windows.insert(candle(8)) is Insert.TOO_OLD
    held = windows.window(KEY, START + 40 * MINUTE, 1)
    assert held is not None
    assert held[0, 4] == 10


def test_an_open_time_off_the_grid_is_an_error() -> None:
    with pytest.raises(ValueError, match="no multiple"):
        Windows().insert(candle(0, open_time=START + 1))


def test_series_do_not_mix() -> None:
    windows = Windows()
    for number in range(8):
        windows.insert(candle(number, symbol="AUSDT" if number % 2 else "BUSDT"))
    assert windows.window(SeriesKey("paper", "AUSDT", "1m"), START + 7 * MINUTE, 2) is None
    assert windows.ready("1m", 1) == [
        SeriesKey("paper", "BUSDT", "1m"),
        SeriesKey("paper", "AUSDT", "1m"),
    ]
    assert windows.ready("1m", 2) == []


def test_market_time_is_the_newest_close_of_a_venue() -> None:
    windows = filled([3, 1])
    assert windows.newest_close("paper") == START + 4 * MINUTE
    assert windows.newest_close("binance") == 0
    assert windows.newest_close_of_all == START + 4 * MINUTE


@given(st.lists(st.integers(0, 90), min_size=1, max_size=120))
def test_windows_after_any_order_are_those_of_the_bars_that_are_held(numbers: list[int]) -> None:
    windows, held = filled(numbers), dict[int, int]()
    for number in numbers:
        held[number % 32] = max(number, held.get(number % 32, 0))
    for end in range(91):
        whole = all(held.get(n % 32) == n for n in range(end - 6, end + 1))
        assert (windows.window(KEY, START + end * MINUTE, 7) is not None) == whole


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.lists(st.sampled_from("ABCDEFGHIJK"), min_size=1)),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 8),
)
def test_a_round_at_once_is_the_same_as_its_candles_one_by_one(
    told: list[tuple[int, list[str]]], length: int
) -> None:
    """What became of each, and all windows afterwards: rings wrap, lag, join and repeat."""
    together, alone = Windows(capacity=16), Windows(capacity=16)
    for number, letters in told:
        bars = [candle(number, symbol=f"{letter}USDT") for letter in letters]
        results = together.insert_round(bars)
        again = [alone.insert(bar) for bar in bars]
        # of one that stands twice in a message the first is stored, whichever is looked at first
        assert sorted(results) == sorted(again)
        assert together.windows(bars, length)[0] == [
            alone.window(SeriesKey.of(bar), bar.open_time, length) is not None for bar in bars
        ]
    for number in range(41):
        bars = [candle(number, symbol=f"{letter}USDT") for letter in "ABCDEFGHIJK"]
        whole, found = together.windows(bars, length)
        held = [alone.window(SeriesKey.of(bar), bar.open_time, length) for bar in bars]
        assert whole == [window is not None for window in held]
        expected = [window for window in held if window is not None]
        assert np.array_equal(found, np.array(expected).reshape(-1, length, 5))
