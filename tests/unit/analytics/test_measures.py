"""Measures of results against NumPy, SciPy, known values and their own laws."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.core import measures
from services.analytics.core.books import Books
from services.analytics.core.equity import (
    HOUR_MS,
    EquityHour,
    EquityPoint,
    curve,
    hour_of,
    merge_hour,
)
from services.analytics.core.ledger import RoundFact
from services.trade.times import DAY_MS

MONEY = st.decimals(min_value="1", max_value="100000", places=2)
RETURNS = st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=60)
START = 20_000 * DAY_MS


def points_of(values: list[Decimal], step: int = DAY_MS) -> list[EquityPoint]:
    """A curve whose points have no inside."""
    return [EquityPoint(START + (n + 1) * step, v, v, v) for n, v in enumerate(values)]


@given(st.lists(MONEY, min_size=1, max_size=80))
def test_the_drawdown_is_that_of_numpy(values: list[Decimal]) -> None:
    found = measures.drawdown(points_of(values, HOUR_MS))
    array = np.array([float(v) for v in values])
    peaks = np.maximum.accumulate(array)
    assert found.fraction == pytest.approx(float(((peaks - array) / peaks).max()), abs=1e-12)
    assert float(found.amount) == pytest.approx(float((peaks - array).max()), abs=1e-6)
    if found.fraction:
        assert found.peak_time < found.trough_time


@given(st.lists(st.tuples(MONEY, MONEY, MONEY), min_size=1, max_size=30), MONEY)
def test_a_drawdown_by_hours_is_never_deeper_than_the_true_one(
    rounds: list[tuple[Decimal, Decimal, Decimal]], deposit: Decimal
) -> None:
    """Hours keep three of their rounds; the fall that they show did happen."""
    every = [value + deposit for hour in rounds for value in hour]
    hours = [
        EquityPoint(
            START + n * HOUR_MS + HOUR_MS, h[-1] + deposit, min(h) + deposit, max(h) + deposit
        )
        for n, h in enumerate(rounds)
    ]
    shown = measures.drawdown(hours)
    true = measures.drawdown(points_of(every, HOUR_MS))
    assert shown.amount <= true.amount
    assert shown.fraction <= true.fraction + 1e-12


@given(RETURNS)
def test_sharpe_and_sortino_are_those_of_numpy(returns: list[float]) -> None:
    array = np.array(returns)
    spread = float(array.std(ddof=1))
    sharpe = measures.sharpe(returns)
    if sharpe is not None and spread > 1e-9:
        expected = float(array.mean()) / spread * math.sqrt(365)
        assert sharpe == pytest.approx(expected, rel=1e-6, abs=1e-9)
    downside = math.sqrt(float((np.minimum(array, 0) ** 2).mean()))
    sortino = measures.sortino(returns)
    assert (sortino is None) == (downside == 0)
    if sortino is not None:
        expected = float(array.mean()) / downside * math.sqrt(365)
        assert sortino == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_ratios_that_the_data_do_not_give_are_not_zero() -> None:
    """Incident 85: nothing is made up from a handful of days."""
    assert measures.sharpe([0.1]) is None
    assert measures.sharpe([0.01, 0.01, 0.01]) is None
    assert measures.sortino([0.01, 0.02]) is None
    assert measures.calmar(points_of([Decimal(1), Decimal(2)])) is None
    assert measures.profit_factor([Decimal(1)]) is None
    assert measures.wilson(0, 0) is None


def test_calmar_of_a_year_is_its_gain_over_its_deepest_fall() -> None:
    values = [Decimal(100), Decimal(125), Decimal(100), Decimal(120)]
    year = [
        EquityPoint(START + n * 365 * DAY_MS // 3, value, value, value)
        for n, value in enumerate(values)
    ]
    assert measures.calmar(year) == pytest.approx(0.2 / 0.2, rel=1e-4)


@given(st.integers(0, 400), st.integers(1, 400))
def test_wilsons_bounds_are_where_the_score_test_turns(wins: int, trades: int) -> None:
    """The bounds p solve (share - p)^2 = z^2 p (1 - p) / n, with SciPy's z of 97.5 %."""
    wins = min(wins, trades)
    found = measures.wilson(wins, trades)
    assert found is not None
    assert found.value == wins / trades
    for bound in (found.low, found.high):
        apart = (found.value - bound) ** 2
        assert apart == pytest.approx(3.8414588206941254 * bound * (1 - bound) / trades, abs=1e-9)
    assert (found.low, found.high) == (0, 0) or found.low < found.high
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_profit_factor_of_the_recorded_disaster() -> None:
    """Incident 85: a shown factor of 5.46 on 11 trades was 0.20 by the exchange's own numbers."""
    nets = [Decimal("1.00"), Decimal("-3.00"), Decimal("-2.00")]
    assert measures.profit_factor(nets) == pytest.approx(0.2)


@given(
    st.lists(st.tuples(st.integers(0, 3 * HOUR_MS), MONEY, st.booleans()), min_size=1, max_size=25),
    st.data(),
)
def test_the_equity_curve_does_not_depend_on_arrival(
    rounds: list[tuple[int, Decimal, bool]], data: st.DataObject
) -> None:
    """Any order and any repetition of rounds gives the same hours."""
    facts = [
        RoundFact("main", START + at, None, (), sample, n, equity)
        for n, (at, equity, sample) in enumerate(rounds)
    ]
    again = facts + data.draw(st.lists(st.sampled_from(facts), max_size=5))
    arrived = data.draw(st.permutations(again))
    assert hours_of(arrived) == hours_of(facts)
    books = Books()
    books.apply_all(arrived)
    assert books.equity == hours_of(facts)
    for hour in hours_of(facts).values():
        assert hour.low <= hour.equity <= hour.high


def hours_of(facts: list[RoundFact]) -> dict[tuple[str, int], EquityHour]:
    """Merge rounds one by one."""
    found: dict[tuple[str, int], EquityHour] = {}
    for fact in facts:
        hour = hour_of(fact)
        assert hour is not None
        found[hour.key] = merge_hour(hour, found.get(hour.key))
    return found


def test_two_accounts_add_up_and_one_that_rests_keeps_its_equity() -> None:
    def hour(account: str, number: int, equity: str) -> EquityHour:
        value = Decimal(equity)
        start = START + number * HOUR_MS
        return EquityHour(account, start, start + HOUR_MS, number, value, value, value)

    found = curve([hour("a", 0, "10"), hour("b", 0, "5"), hour("a", 1, "12"), hour("b", 2, "4")])
    assert [p.equity for p in found] == [Decimal(15), Decimal(17), Decimal(16)]


def test_a_round_at_midnight_ends_the_day_before() -> None:
    assert [d for d, _ in measures.daily_equity(points_of([Decimal(1), Decimal(2)]))] == [
        20_000,
        20_001,
    ]
