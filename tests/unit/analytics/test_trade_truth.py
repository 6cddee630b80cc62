"""What one trade was, and what a report makes of many."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.analytics.core.report import Flows, make
from services.analytics.core.trades import Trade, compute
from services.analytics.core.truth import (
    Extremes,
    TradeTruth,
    candles_between,
    extremes_of,
    prices_between,
)
from services.trade.candle import Candle
from services.trade.position import PositionSide
from tests.unit.analytics.position_facts import booked, told

MONEY = st.decimals(min_value="1", max_value="9999", places=2)
SIZE = st.decimals(min_value="0.001", max_value="50", places=3)


def trade_of(
    *,
    side: PositionSide = PositionSide.LONG,
    entry: str | Decimal = "100",
    leave: str | Decimal = "110",
    quantity: str | Decimal = "1",
    stop: str | Decimal | None = "95",
    name: str = "pos-1",
    closed: int = 2,
) -> Trade:
    """A closed trade of one entry and one exit, 0.08 of commission."""
    fills = [
        booked(1, entry=True, side=side, price=entry, quantity=quantity, position_id=name),
        booked(
            2,
            entry=False,
            side=side,
            price=leave,
            quantity=quantity,
            position_id=name,
            time=closed,
        ),
    ]
    fact = told(2, closed=True, side=side, position_id=name)
    if stop is not None:
        fact = replace(fact, initial_stop=Decimal(stop), stop_version=1)
    found = compute(name, fact, fills, [])
    assert found is not None
    return found


def test_a_long_trade_by_hand() -> None:
    truth = TradeTruth(trade_of(quantity="2"), Decimal("99.5"), Extremes(Decimal(97), Decimal(113)))
    assert truth.net == Decimal("19.92")
    assert truth.slippage == Decimal("1.0")
    assert round(truth.slippage_bp or 0, 4) == 50.2513
    assert truth.risk == Decimal(10)
    assert truth.r == 1.992
    assert (truth.adverse, truth.favourable) == (Decimal(6), Decimal(26))


def test_a_short_trade_mirrors_a_long_one() -> None:
    """Incident 81: the direction keeps its sign in everything that is measured."""
    trade = trade_of(side=PositionSide.SHORT, entry="100", leave="110", stop="105")
    truth = TradeTruth(trade, Decimal("99.5"), Extremes(Decimal(97), Decimal(113)))
    assert truth.position.realized_pnl == Decimal(-10)
    assert truth.slippage == Decimal("-0.5")
    assert truth.risk == Decimal(5)
    assert (truth.adverse, truth.favourable) == (Decimal(13), Decimal(3))


@given(MONEY, MONEY, MONEY, SIZE, st.integers(2, 50), st.sampled_from(PositionSide))
def test_r_does_not_depend_on_the_size(
    entry: Decimal, leave: Decimal, stop: Decimal, size: Decimal, times: int, side: PositionSide
) -> None:
    """Incident 89: R is per unit of risk, not per dollar of profit."""
    small = trade_of(side=side, entry=entry, leave=leave, stop=stop, quantity=size)
    large = trade_of(side=side, entry=entry, leave=leave, stop=stop, quantity=size * times)
    free = [replace(t, position=replace(t.position, commission=Decimal(0))) for t in (small, large)]
    one, other = (TradeTruth(t).r for t in free)
    assert one == other
    losing = (stop < entry) if side is PositionSide.LONG else (stop > entry)
    assert (one is None) == (not losing)


@given(st.lists(MONEY, min_size=1, max_size=30), MONEY, st.sampled_from(PositionSide))
def test_no_result_lies_beyond_its_excursions(
    prices: list[Decimal], entry: Decimal, side: PositionSide
) -> None:
    """An exit at any price of the path is between the worst loss and the best profit."""
    extremes = extremes_of([entry, *prices])
    for leave in prices:
        truth = TradeTruth(trade_of(side=side, entry=entry, leave=leave), None, extremes)
        assert truth.adverse is not None
        assert truth.favourable is not None
        assert -truth.adverse <= truth.position.realized_pnl <= truth.favourable


def test_only_the_part_of_a_candle_counts_in_which_the_trade_was_open() -> None:
    minute = 60_000
    candle = Candle(
        "paper", "BTCUSDT", "1m", minute, *(Decimal(x) for x in ("100", "120", "80", "110", "1"))
    )
    assert prices_between([candle], minute, 2 * minute) == [100, 80, 120, 110]
    assert prices_between([candle], minute + 21_000, 2 * minute) == [120, 110]
    assert prices_between([candle], 0, minute) == [100]


@given(
    st.lists(
        st.tuples(
            MONEY, MONEY, SIZE, st.sampled_from(PositionSide), st.integers(2, 4 * 86_400_000)
        ),
        min_size=0,
        max_size=25,
    )
)
def test_every_grouping_of_a_report_adds_up_to_its_total(
    rows: list[tuple[Decimal, Decimal, Decimal, PositionSide, int]],
) -> None:
    """Incident 85: what the parts say is what the whole says, to the last digit."""
    trades = [
        TradeTruth(
            trade_of(
                entry=entry, leave=leave, quantity=size, side=side, name=f"p{n}", closed=closed
            )
        )
        for n, (entry, leave, size, side, closed) in enumerate(rows)
    ]
    report = make(0, 5 * 86_400_000, Flows(), trades, [])
    for part in (report.by_day, report.by_hour, report.by_symbol, report.by_model, report.by_exit):
        assert sum((g.net for g in part), Decimal(0)) == report.total.net
        assert sum(g.trades for g in part) == report.total.trades == len(rows)
        assert sum(g.wins for g in part) == report.total.wins
    assert report.total.net == sum((t.net for t in trades), Decimal(0))


@given(st.integers(0, 10_000), st.integers(1, 5_000), st.integers(1, 700))
def test_the_candles_of_a_trade_are_counted_as_they_lie(since: int, held: int, length: int) -> None:
    until = since + held
    touching = [n for n in range(until // length + 2) if n * length < until]
    touching = [n for n in touching if (n + 1) * length > since]
    assert candles_between(since, until, length) == len(touching)
