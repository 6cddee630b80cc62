"""Defects that seeds of the simulation found: rounds and days that end late."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.trade.order import Side
from tests.unit.exec_risk.account_desk import MINUTE, Desk, signal_of

D = Decimal


def test_a_round_that_is_decided_late_judges_by_the_markets_time() -> None:
    """Incident 61: a signal ages with the market while its round waits."""
    desk = Desk()
    signal = signal_of("BTCUSDT", Side.BUY, desk.time)
    desk.round(signal, skip=("BTCUSDT",))
    late = desk.time
    desk.time += 6 * MINUTE
    desk.tell(ex.PriceReport("BTCUSDT", desk.time, D(100)))
    answer = inputs.Prediction("BTCUSDT", "1m", late, signal)
    desk.tell(inputs.PredictionsArrived((answer,)))
    decided = [e for e in desk.effects if isinstance(e, fx.RiskDecided)]
    assert [d.rule for d in decided] == ["stale_signal"]
    assert not desk.placed()


def test_the_plan_of_an_entry_that_waits_over_midnight_is_kept() -> None:
    """Incident 26: what is forgotten with a day is nobody's; the core failed at its leverage."""
    desk = Desk()
    desk.book.leverage.clear()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    execution = desk.book.executing.working[0]
    del desk.book.orders[execution.child]
    desk.book.day(desk.time + 24 * 60 * MINUTE)
    assert execution.position_id in desk.book.plans
