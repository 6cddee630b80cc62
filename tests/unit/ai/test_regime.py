"""The regime follows from the last bars of the leading symbol, and from nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantum.ai.v1 import universe_pb2 as pb

from services.ai.core.regime import BARS, EMA_BARS, Reading, Regime, read_regime, true_ranges
from services.ai.market_views import regime_from_pb, regime_to_pb

Window = npt.NDArray[np.float32]
Prices = npt.NDArray[np.floating[Any]]


def bars(closes: Prices, width: float = 0.001) -> Window:
    """Candles with these closes, each opening at the close before."""
    opens = np.concatenate((closes[:1], closes[:-1]))
    high = np.maximum(opens, closes) * (1 + width)
    low = np.minimum(opens, closes) * (1 - width)
    rows = np.stack([opens, high, low, closes, np.full(len(closes), 5.0)], axis=1)
    return rows.astype(np.float32)


def drift(a_bar: float, count: int = BARS) -> Window:
    return bars(100.0 * (1.0 + a_bar) ** np.arange(count))


@pytest.mark.parametrize(
    ("a_bar", "regime"),
    [
        (0.0005, Regime.UPTREND),
        (-0.0005, Regime.DOWNTREND),
        (0.0, Regime.SIDEWAYS),
        (0.0001, Regime.SIDEWAYS),
        (-0.0001, Regime.SIDEWAYS),
    ],
)
def test_the_distance_from_the_average_decides(a_bar: float, regime: Regime) -> None:
    assert read_regime(drift(a_bar)).regime is regime


def test_the_average_is_the_plain_recursion() -> None:
    closes = 100 + np.random.default_rng(3).normal(0, 1, BARS).cumsum()
    window = bars(closes)
    average = float(window[0, 3])
    for close in window[1:, 3].astype(np.float64):
        average += (close - average) * 2 / (EMA_BARS + 1)
    assert read_regime(window).deviation == pytest.approx(float(window[-1, 3]) / average - 1)


def test_only_the_last_bars_count() -> None:
    window = drift(0.0005)
    longer = np.concatenate((drift(-0.002, 100) * np.float32(3), window))
    assert read_regime(longer) == read_regime(window)


@given(st.floats(-0.002, 0.002), st.floats(0.01, 50000))
def test_the_unit_of_price_changes_nothing(a_bar: float, factor: float) -> None:
    path = 1.001 ** (a_bar * 1000 * np.arange(BARS))
    one, other = read_regime(bars(path)), read_regime(bars(factor * path))
    assert other.deviation == pytest.approx(one.deviation, abs=1e-5)
    if abs(abs(one.deviation) - 0.02) > 1e-4:
        assert other.regime is one.regime


def test_a_wilder_end_shows_in_the_ratio() -> None:
    closes = np.full(BARS, 100.0)
    closes[-14::2] += 1
    assert read_regime(bars(closes)).atr_ratio > 2
    assert read_regime(bars(np.full(BARS, 100.0))).atr_ratio == pytest.approx(1.0)
    ranges = true_ranges(bars(np.array([100.0, 103.0])).astype(np.float64))
    assert ranges == pytest.approx([3.0 + 0.103 + 0.1], abs=1e-3)


@pytest.mark.parametrize("column", range(5))
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_what_is_no_candle_makes_the_regime_unknown(column: int, value: float) -> None:
    window = drift(0.0005)
    window[200, column] = value
    assert read_regime(window) == Reading(Regime.UNKNOWN)


def test_without_history_the_regime_is_unknown() -> None:
    assert read_regime(None).regime is Regime.UNKNOWN
    assert read_regime(drift(0.0005, BARS - 1)).regime is Regime.UNKNOWN


@given(st.integers(-5, 100))
def test_a_regime_of_another_version_is_unknown_and_no_error(number: int) -> None:
    """Incident 100: a value that is not known (ILLIQUID) stopped the signals."""
    known = {1: Regime.UNKNOWN, 2: Regime.UPTREND, 3: Regime.DOWNTREND, 4: Regime.SIDEWAYS}
    assert regime_from_pb(number) is known.get(number, Regime.UNKNOWN)


@pytest.mark.parametrize("regime", list(Regime))
def test_a_regime_survives_the_bus(regime: Regime) -> None:
    message = regime_to_pb("paper", 60_000, Reading(regime), Regime.UNKNOWN)
    read = pb.RegimeChanged.FromString(message.SerializeToString())
    assert regime_from_pb(read.regime) is regime
