"""Volume and expected impact: what they choose, weigh and refuse."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.exec_risk.core.executions.impact import expected
from services.exec_risk.core.executions.strategies.smart import chosen
from services.exec_risk.core.executions.volume_profile import HOURS, VolumeProfile
from services.trade.candle import Candle
from services.trade.execution import (
    ExecutionStrategy,
)
from services.trade.order import OrderPurpose, Side
from tests.unit.exec_risk.account_desk import MINUTE, Desk, signal_of
from tests.unit.exec_risk.execution_desk import (
    BTC,
    desk_of,
    the_execution,
)

D = Decimal
ENTRY = OrderPurpose.ENTRY
LIMIT, SMART, VWAP = ExecutionStrategy.LIMIT, ExecutionStrategy.SMART, ExecutionStrategy.VWAP


def test_vwap_follows_the_volume_of_the_hour() -> None:
    desk = desk_of(VWAP)
    desk.round()
    start = desk.time - desk.time % 3_600_000 + 3_600_000 - 150_000
    hours = [D(1)] * HOURS
    hours[(start + 150_000) // 3_600_000 % HOURS] = D(9)
    profile = VolumeProfile(BTC, MINUTE, D(100), D(0), tuple(hours), start)
    desk.book.executing.volumes[BTC] = profile
    desk.time = start
    desk.tell(ex.PriceReport(BTC, start, D(100)))
    desk.tell(inputs.SubmitExecution("r", BTC, Side.BUY, VWAP, quantity=D(5)))
    parts = [p.quantity for p in the_execution(desk).schedule]
    assert sum(parts) == 5
    assert parts == [D("0.1")] * 5 + [D("0.9")] * 5


@given(st.decimals("0", "0.05", places=6))
def test_smart_chooses_by_the_expected_impact(impact: Decimal) -> None:
    """Market under 0.1 %, limit to 0.5 %, sliced above."""
    found = chosen(SMART, impact, ExecutionPolicy())
    if impact < D("0.001"):
        assert found is ExecutionStrategy.MARKET
    elif impact <= D("0.005"):
        assert found is LIMIT
    else:
        assert found is VWAP


@given(st.decimals("0.001", "100", places=3), st.decimals("0.001", "0.1", places=3))
def test_impact_grows_with_the_root_of_the_quantity(quantity: Decimal, spread: Decimal) -> None:
    profile = VolumeProfile(BTC, MINUTE, D(50), spread, (D(0),) * HOURS, 0)
    one, four = expected(quantity, profile), expected(4 * quantity, profile)
    assert one is not None and four is not None
    assert abs(four - 2 * one) < D("1e-20")


def thin_market(desk: Desk) -> None:
    """Candles that move 2 % on hardly any volume."""
    for _ in range(3):
        candle = Candle(
            "paper", BTC, "1m", desk.time - MINUTE, D(100), D(101), D(99), D(100), D("0.5")
        )
        desk.book.executing.saw(candle)
        desk.time += MINUTE


def test_an_entry_that_would_move_the_price_beyond_the_cap_is_refused() -> None:
    """The rule is named; SMART takes the same entry in parts."""
    desk = Desk()
    thin_market(desk)
    desk.round(signal_of(BTC, Side.BUY, desk.time))
    judged = [e for e in desk.effects if isinstance(e, fx.RiskDecided)]
    assert [j.rule for j in judged] == ["slippage"]
    assert not desk.placed()
    calm = desk_of(SMART, slices=50)
    thin_market(calm)
    calm.round()
    calm.tell(inputs.SubmitExecution("r", BTC, Side.BUY, SMART, quantity=D("1")))
    found = the_execution(calm)
    assert found.strategy is VWAP and found.expected_impact is not None
    assert found.expected_impact > D("0.005")
    assert len(calm.placed(ENTRY)) == 1 and calm.placed(ENTRY)[0].quantity < 1


def test_without_any_volume_nothing_is_entered() -> None:
    desk = Desk()
    desk.tell(ex.PriceReport(BTC, desk.time, D(100)))
    desk.tell(inputs.SubmitExecution("r", BTC, Side.BUY, LIMIT, quantity=D(1)))
    (answer,) = [e for e in desk.effects if isinstance(e, fx.Answer)]
    assert answer.result["rule"] == "slippage"
