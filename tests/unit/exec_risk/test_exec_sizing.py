"""How large an entry is: properties over equity, results and limits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core.account.results import ClosedTrade, Results
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.risk import sizing
from services.exec_risk.core.risk.entry import Entry
from services.exec_risk.core.risk.safety import MULTIPLIERS
from services.trade.order import Side
from services.trade.position import SafetyLevel
from tests.unit.exec_risk.account_desk import START, Desk, signal_of

D = Decimal
ZERO, ONE = D(0), D(1)
GAINS = st.lists(st.decimals("-50", "50", places=2), max_size=120)


def results_of(gains: list[Decimal]) -> Results:
    """Results with these profits on 100 USD each, in this order."""
    found = Results()
    for number, gain in enumerate(gains):
        found.add(ClosedTrade(START + number, f"p{number}", "BTCUSDT", gain, D(100)))
    return found


def entry_of(equity: Decimal, gains: list[Decimal], **signal: Any) -> Entry:
    """An entry of BTCUSDT that is judged up to its size."""
    desk = Desk()
    desk.book.wallet, desk.book.results = equity, results_of(gains)
    desk.book.prices["BTCUSDT"] = (D(100), desk.time)
    found = Entry(desk.book, signal_of("BTCUSDT", Side.BUY, desk.time, **signal), desk.time, 5)
    found.stop_fraction = D("0.008")
    return found


@settings(deadline=None)
@given(GAINS, st.integers(1, 120), st.integers(1, 40))
def test_kelly_is_a_fraction_and_needs_enough_trades(
    gains: list[Decimal], window: int, least: int
) -> None:
    kelly = results_of(gains).kelly(window, least)
    used = gains[-window:]
    if len(used) < least:
        assert kelly is None
        return
    assert kelly is not None and ZERO <= kelly <= ONE
    if not [g for g in used if g > 0]:
        assert kelly == 0


def test_kelly_of_known_results() -> None:
    """60 % winners that gain twice what losers lose: 0.6 - 0.4 / 2 = 0.4."""
    assert results_of([D(2), D(2), D(2), D(-1), D(-1)] * 4).kelly(100, 20) == D("0.4")
    assert results_of([D(1), D(-1)] * 10).kelly(100, 20) == 0


@given(st.decimals("0.01", "1000", places=2), GAINS)
def test_kelly_and_gain_are_the_same_at_every_size(scale: Decimal, gains: list[Decimal]) -> None:
    """Incident 89: results are measured per unit, never in USD."""
    small = results_of(gains)
    large = Results()
    for trade in small.trades:
        cost = trade.entry_cost * scale
        moved = ClosedTrade(
            trade.closed_time, trade.position_id, trade.symbol, trade.gain * cost, cost
        )
        large.add(moved)
    assert [t.gain for t in large.trades] == [t.gain for t in small.trades]
    assert large.kelly(100, 1) == small.kelly(100, 1)


@settings(deadline=None)
@given(GAINS)
def test_risk_lies_between_the_floor_and_the_setting(gains: list[Decimal]) -> None:
    """No edge never sizes up: what is risked then is what was risked before any result."""
    policy = Policy()
    kelly = results_of(gains).kelly(100, 20)
    risk = sizing.risk_fraction(policy, kelly)
    floor = policy.risk_per_trade * policy.risk.cold_start_share
    assert floor <= risk <= policy.risk_per_trade
    if not kelly:
        assert risk == floor


@settings(max_examples=200, deadline=None)
@given(
    equity=st.decimals("50", "500000", places=2),
    more=st.decimals("0", "500000", places=2),
    gains=GAINS,
    confidence=st.floats(0, 1),
    atr=st.decimals("0", "0.05", places=4),
)
def test_size_keeps_every_limit_and_grows_with_equity(
    equity: Decimal, more: Decimal, gains: list[Decimal], confidence: float, atr: Decimal
) -> None:
    """Incidents 36, 40, 88: within every room, and more equity never gives a smaller entry."""
    signal: dict[str, Any] = {"confidence": confidence, "atr": str(atr)}
    small = entry_of(equity, gains, **signal)
    size = small.sized()
    assert all(size.notional <= max(room, ZERO) for room in small.rooms().values())
    assert size.quantity == small.filters.floor_quantity(size.quantity)
    if size.notional > small.filters.min_notional + small.price * small.filters.step_size:
        assert size.notional * small.stop_fraction <= equity * small.policy.risk_per_trade
        assert size.notional * atr <= equity * small.policy.risk.volatility_target
    assert entry_of(equity + more, gains, **signal).sized().notional >= size.notional


@given(st.sampled_from(SafetyLevel), st.floats(0.01, 1), st.decimals("0.001", "0.05", places=3))
def test_a_more_careful_level_never_wants_more(
    level: SafetyLevel, confidence: float, stop: Decimal
) -> None:
    """Incident 121: multiplier 0 wants nothing, and nothing is rounded up to the least notional."""

    def wanted(multiplier: Decimal) -> Decimal:
        return sizing.wanted(
            equity=D(10_000),
            risk=D("0.01"),
            confidence=confidence,
            stop_fraction=stop,
            atr_fraction=stop / 2,
            volatility_target=D("0.005"),
            multiplier=multiplier,
        )

    asked = wanted(MULTIPLIERS[level].size)
    assert asked <= wanted(ONE)
    if level is SafetyLevel.EMERGENCY:
        filters = Desk().book.filters["BTCUSDT"]
        none = sizing.size(wanted=asked, price=D(100), leverage=5, limit=D(1000), filters=filters)
        assert none.quantity == 0


@given(GAINS, st.data())
def test_a_result_that_is_taken_back_leaves_the_others(
    gains: list[Decimal], data: st.DataObject
) -> None:
    """A position that opens again has no result until it closes; any order adds up."""
    found = results_of(gains)
    if not found.trades:
        return
    trade = data.draw(st.sampled_from(found.trades))
    found.drop(trade.position_id)
    assert trade not in found.trades
    found.add(trade)
    found.add(trade)
    assert found.trades == results_of(gains).trades


def test_the_account_goes_on_trading_with_results_near_a_coin_toss() -> None:
    """Half of 40 trades lost, costs on top: entries are small, but they are made."""
    desk = Desk()
    desk.book.results = results_of([D("0.5"), D("-0.6")] * 20)
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time, 0.34))
    (decided,) = desk.of(fx.RiskDecided)
    assert isinstance(decided, fx.RiskDecided)
    assert decided.approved and decided.notional is not None
    # 10000 USD x 0.01 x 0.25 x 0.34 / 0.008, rounded down to 0.001 at 100 USD
    assert decided.notional == D("1062.5")
