"""Marks between 0 and 1, weights that sum to 1, and an order that depends on nothing else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.core.regime import Regime
from services.ai.core.universe import (
    BARS,
    WEIGHTS,
    Grade,
    Opportunity,
    TradeRecord,
    rank,
    spreads_of,
)
from services.ai.market_views import scan_to_pb
from tests.unit.ai.candle_samples import MINUTE
from tests.unit.ai.test_regime import bars

Window = npt.NDArray[np.float32]


def walk(seed: int, *, drift: float = 0.0, noise: float = 0.001, volume: float = 5.0) -> Window:
    steps = np.random.default_rng(seed).normal(drift, noise, BARS)
    window = bars(100 * np.exp(steps.cumsum()), width=noise / 2)
    window[:, 4] = volume
    return window


def scored(window: Window, market: Regime = Regime.SIDEWAYS) -> Opportunity:
    (found,) = rank([("AUSDT", window)], MINUTE, market, TradeRecord())
    return found


@given(
    st.integers(0, 1000),
    st.floats(-0.01, 0.01),
    st.floats(0, 0.05),
    st.floats(0, 1e9),
    st.sampled_from(list(Regime)),
)
def test_every_mark_and_score_lies_between_0_and_1(
    seed: int, drift: float, noise: float, volume: float, market: Regime
) -> None:
    found = scored(walk(seed, drift=drift, noise=noise, volume=volume), market)
    assert set(found.marks) == set(WEIGHTS)
    assert all(0.0 <= mark <= 1.0 for mark in found.marks.values())
    assert 0.0 <= found.score <= 1.0
    assert found.score == pytest.approx(sum(WEIGHTS[n] * m for n, m in found.marks.items()))


def test_the_weights_are_those_of_the_ranker() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)
    assert list(WEIGHTS.values()) == [0.25, 0.20, 0.15, 0.15, 0.10, 0.10, 0.05]


@pytest.mark.parametrize(
    ("score", "grade"),
    [(1.0, "A"), (0.8, "A"), (0.79, "B"), (0.6, "B"), (0.4, "C"), (0.2, "D"), (0.19, "F")],
)
def test_grades(score: float, grade: str) -> None:
    assert Opportunity("A", score, {}).grade is Grade(grade)


@given(st.permutations(range(6)))
def test_the_order_of_the_symbols_decides_nothing(order: list[int]) -> None:
    named = [(f"S{n}USDT", walk(n % 4)) for n in range(6)]
    first = rank(named, MINUTE, Regime.UPTREND, TradeRecord())
    assert rank([named[n] for n in order], MINUTE, Regime.UPTREND, TradeRecord()) == first
    assert [o.score for o in first] == sorted((o.score for o in first), reverse=True)


def test_the_score_is_no_constant() -> None:
    """Incident 102: what is ranked is computed from the market, never a placeholder."""
    found = rank([(f"S{n}", walk(n)) for n in range(20)], MINUTE, Regime.SIDEWAYS, TradeRecord())
    assert len({one.score for one in found}) == 20


def test_each_mark_answers_to_what_it_names() -> None:
    quiet = walk(1, noise=0.0005)
    strong = walk(1, drift=0.0005, noise=0.0005)
    assert scored(strong).marks["trend"] > scored(quiet).marks["trend"]
    assert scored(strong).marks["noise"] > scored(quiet).marks["noise"]
    deep, thin = walk(1, volume=1e4), walk(1, volume=1.0)
    assert scored(deep).marks["liquidity"] > scored(thin).marks["liquidity"]
    up, down = (scored(strong, m).marks["regime"] for m in (Regime.UPTREND, Regime.DOWNTREND))
    assert up > 0.5 > down
    assert scored(strong, Regime.UNKNOWN).marks["regime"] == 0.5
    wild, lively = walk(1, noise=0.01), walk(1, noise=0.001)
    assert scored(lively).marks["volatility"] > scored(wild).marks["volatility"]


def test_a_bounce_between_bid_and_ask_is_told_as_spread() -> None:
    narrow, wide = walk(1, noise=0.0), walk(1, noise=0.0)
    for window, half in ((narrow, 0.0001), (wide, 0.001)):
        window[:, 1], window[:, 2] = 100 * (1 + half), 100 * (1 - half)
        window[:, 0] = window[:, 3] = 100
    assert spreads_of(*wide[None, :, 1:3].astype(np.float64).transpose(2, 0, 1))[
        0
    ] == pytest.approx(0.002, rel=0.05)
    assert scored(narrow).marks["spread"] > 0.85 > 0.05 > scored(wide).marks["spread"]


def test_the_win_rate_begins_at_one_half_and_forgets() -> None:
    record = TradeRecord()
    assert record.win_rate("A") == 0.5
    record.take("A", won=True)
    assert record.win_rate("A") == pytest.approx(2 / 3)
    for _ in range(50):
        record.take("A", won=False)
    assert record.win_rate("A") == pytest.approx(1 / 52)
    assert record.win_rate("B") == 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -5.0])
def test_a_window_that_is_none_is_left_out_and_the_others_stay(value: float) -> None:
    broken = walk(1)
    broken[7, 2] = value
    named = [("BADUSDT", broken), ("SHORT", walk(2)[:-1]), ("GOODUSDT", walk(3))]
    found = rank(named, MINUTE, Regime.SIDEWAYS, TradeRecord())
    assert [one.symbol for one in found] == ["GOODUSDT"]


def test_a_scan_keeps_the_best_above_the_least_score() -> None:
    marks = dict.fromkeys(WEIGHTS, 0.5)
    ranked = [Opportunity(f"S{n}", 0.9 - n * 0.1, marks) for n in range(8)]
    scan = scan_to_pb("paper", 60_000, ranked, Regime.UPTREND, 3)
    assert [o.symbol for o in scan.ranked_symbols] == ["S0", "S1", "S2"]
    assert scan.total_scanned == 8
    kept = scan_to_pb("paper", 60_000, ranked, Regime.UPTREND, 20).ranked_symbols
    assert all(o.score >= 0.5 for o in kept)
    assert len(kept) in (4, 5)
