"""Entries, exits, fills, limits and counters of the core."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.orders import lifecycle
from services.exec_risk.core.policy import Gates, Policy
from services.trade.order import OrderPurpose, OrderState, Side
from services.trade.position import ExitReason, TradingState
from tests.unit.exec_risk.account_desk import MINUTE, Desk, fill_of, report, signal_of

D = Decimal
ENTRY, EXIT = OrderPurpose.ENTRY, OrderPurpose.EXIT


def rules_of(desk: Desk) -> list[str]:
    """The rule that decided, of each judged signal."""
    return [e.rule for e in desk.effects if isinstance(e, fx.RiskDecided)]


def test_filled_without_quantity_is_refused() -> None:
    """Incidents 22 and 23: FILLED follows from fills only, never with quantity 0."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed()[0]
    desk.tell(report(entry, OrderState.FILLED))
    assert desk.book.orders[entry.client_order_id].state is OrderState.SUBMITTED
    assert not desk.book.positions
    with pytest.raises(lifecycle.IllegalTransition):
        lifecycle.advance(entry, OrderState.FILLED, time=1)


def test_late_fill_of_a_final_order_is_applied_with_an_alert() -> None:
    """A fill is never refused, whatever the state."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed()[0]
    desk.accept(entry)
    desk.tell(report(entry, OrderState.CANCELED))
    desk.fill(entry)
    assert desk.book.positions["BTCUSDT"].quantity == entry.quantity
    assert "LATE_FILL" in [e.alert_type for e in desk.effects if isinstance(e, fx.Alert)]


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), side=st.sampled_from(Side))
def test_duplicates_in_any_order_give_the_same_state(seed: int, side: Side) -> None:
    """Incident 27: fills and reports, each twice and shuffled, end in one same state."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", side, desk.time))
    entry = desk.placed()[0]
    third = entry.quantity / 3
    fills = [fill_of(entry, third, D(100 + i), str(i), desk.time, D(0)) for i in range(3)]
    events: list[ex.ExchangeEvent] = [*map(ex.FillReport, fills), *map(ex.FillReport, fills)]
    filled = sum((f.quantity for f in fills), D(0))
    done = replace(report(entry, OrderState.FILLED), filled_quantity=filled)
    events += [done, done, report(entry), report(entry)]
    random.Random(seed).shuffle(events)  # noqa: S311 - a test's order, not a secret
    for event in events:
        desk.tell(event)
    position = desk.book.positions["BTCUSDT"]
    assert position.entry_cost == sum(f.price * f.quantity for f in fills)
    assert desk.book.orders[entry.client_order_id].state is OrderState.FILLED
    assert desk.book.wallet == D(10_000) - sum(f.commission for f in fills)


def test_same_signal_many_times_is_one_order() -> None:
    """Incident 27: one candle, one decision."""
    desk = Desk()
    for _ in range(5):
        desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    assert len(desk.placed(ENTRY)) == 1


def test_a_signal_has_its_order_once_also_after_its_position_is_closed() -> None:
    """Incident 27: told again in a later round, it is judged anew and ordered no more."""
    desk = Desk(Policy(cooldown_ms=0))
    signal = signal_of("BTCUSDT", Side.BUY, desk.time)
    desk.round(signal)
    desk.fill(desk.placed(ENTRY)[0])
    desk.fill(desk.placed(OrderPurpose.STOP_LOSS)[0])
    for order in list(desk.book.live_orders()):
        desk.tell(report(order, OrderState.CANCELED))
    desk.time += MINUTE
    desk.round(replace(signal, round_time=desk.time))
    assert rules_of(desk)[-1] == "approved"
    assert len(desk.placed(ENTRY)) == 1


def test_lost_reply_is_resolved_by_asking() -> None:
    """Incident 26: unknown outcome blocks the symbol, is asked for, and stays one order."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed()[0]
    desk.tell(inputs.PlaceAnswered(entry.client_order_id, ex.Unknown("lost")))
    assert desk.of(fx.Resolve)
    desk.time += MINUTE
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    assert rules_of(desk)[-1] == "order_pending"
    desk.tell(inputs.OrderFound(entry.client_order_id, report(entry)))
    assert len(desk.placed(ENTRY)) == 1


def test_refusal_returns_the_reservation() -> None:
    """Incidents 48 and 52: nothing stays reserved, and -2019 is not tried again."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    assert desk.book.reserved() > 0
    desk.refuse(desk.placed()[0], "-2019")
    assert desk.book.reserved() == 0
    assert len(desk.placed(ENTRY)) == 1


def test_positions_that_closed_free_their_places() -> None:
    """Incident 53: open N, close N, open again."""
    desk = Desk(Policy(max_positions=1, cooldown_ms=0))
    for number in range(1, 4):
        desk.open()
        desk.time += MINUTE
        desk.round(signal_of("BTCUSDT", Side.SELL, desk.time))
        desk.fill(desk.placed(EXIT)[-1])
        assert not desk.book.positions
        for order in desk.book.live_orders():
            desk.tell(report(order, OrderState.CANCELED))
        desk.time += MINUTE
        assert len(desk.placed(ENTRY)) == number


def test_opposite_signal_closes_in_every_state() -> None:
    """Incidents 15 and 16: no gate of entries is asked for an exit, nor is it resized."""
    desk = Desk()
    entry = desk.open()
    desk.book.trading_state = TradingState.HALTED
    desk.tell(inputs.GatesChanged(Gates(draining=True, maintenance=True)))
    desk.time += MINUTE
    desk.round(signal_of("BTCUSDT", Side.SELL, desk.time))
    assert desk.placed(EXIT)[0].quantity == entry.quantity
    assert desk.book.positions["BTCUSDT"].exit_reason is ExitReason.SIGNAL_EXIT


def test_time_exit() -> None:
    """A position is held for at most the longest time of market time."""
    desk = Desk()
    desk.open()
    desk.time += 60 * MINUTE
    desk.round()
    assert desk.book.positions["BTCUSDT"].exit_reason is ExitReason.TIMEOUT


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        (Policy(trading_enabled=False), "trading_enabled"),
        (Policy(venue="demo"), "venue"),
        (Policy(min_confidence=0.9), "confidence"),
        (Policy(max_positions=1), "open_positions"),
        (Policy(taker_fee=D("0.02")), "target_clears_costs"),
        (Policy(max_exposure_usd=D(1)), "gross_exposure"),
        (Policy(margin_share=D(0)), "margin"),
        (Policy(max_position_usd=D(1)), "filters"),
    ],
)
def test_each_limit_refuses_by_its_name(policy: Policy, rule: str) -> None:
    """Every refusal names the rule that decided."""
    desk = Desk(policy)
    if rule == "open_positions":
        desk.open("ETHUSDT")
        desk.time += MINUTE
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    assert rules_of(desk)[-1] == rule


def test_stale_signal_and_missing_equity_refuse() -> None:
    """Incidents 61 and 88: no old signal, no entry without live equity."""
    desk = Desk()
    old = replace(signal_of("BTCUSDT", Side.BUY, desk.time), expires_at=desk.time - 1)
    desk.round(old)
    desk.time += MINUTE
    desk.book.wallet = None
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    assert rules_of(desk) == ["stale_signal", "equity"]


def test_cooldown_and_second_entry() -> None:
    """Incident 30: no second entry on an open position, 180 s of cooldown after a close."""
    desk = Desk()
    desk.open()
    desk.time += MINUTE
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    desk.fill(desk.placed(OrderPurpose.STOP_LOSS)[0])
    for stop in desk.placed(OrderPurpose.TAKE_PROFIT):
        desk.tell(report(stop, OrderState.CANCELED))
    desk.time += MINUTE
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    assert rules_of(desk) == ["approved", "position_exists", "cooldown"]


def test_round_order_and_missing() -> None:
    """Confidence descending, then symbol; what did not answer is named and is HOLD."""
    desk = Desk()
    desk.round(
        signal_of("SOLUSDT", Side.BUY, desk.time, 0.5),
        signal_of("ETHUSDT", Side.SELL, desk.time, 0.7),
        skip=("BTCUSDT",),
    )
    assert not desk.of(fx.RoundDecided)
    desk.tell(inputs.RoundTimedOut(desk.time))
    decided = next(e for e in desk.effects if isinstance(e, fx.RoundDecided))
    assert decided.missing == ("BTCUSDT",)
    assert [o.symbol for o in desk.placed(ENTRY)] == ["ETHUSDT", "SOLUSDT"]


def test_leverage_is_confirmed_before_the_entry_is_sent() -> None:
    """Incident 33: read-back first; a wrong one withdraws the entry."""
    desk = Desk()
    desk.book.leverage.clear()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    assert not desk.placed()
    assert desk.of(fx.SetLeverage) == [fx.SetLeverage("BTCUSDT", 5)]
    desk.tell(inputs.LeverageAnswered("BTCUSDT", 20))
    assert not desk.placed() and not desk.book.live_orders()


@given(st.lists(st.decimals("-0.5", "0.5", places=3), min_size=1, max_size=4))
def test_net_profit_is_the_sum_of_fills(moves: list[Decimal]) -> None:
    """Incidents 81 and 85: signs survive, and PnL is what the fills say, to the last digit."""
    desk = Desk(Policy(cooldown_ms=0))
    cash, sides = D(0), (Side.BUY, Side.SELL)
    for number, move in enumerate(moves):
        side = sides[number % 2]
        desk.round(signal_of("BTCUSDT", side, desk.time))
        entry = desk.placed(ENTRY)[-1]
        fills = [desk.fill(entry)]
        assert desk.book.positions["BTCUSDT"].side.entry_side is side
        fills.append(desk.fill(desk.placed(OrderPurpose.STOP_LOSS)[-1], price=D(100) + move))
        for order in list(desk.book.live_orders()):
            desk.accept(order)
            desk.tell(report(order, OrderState.CANCELED))
        cash -= sum(f.side.sign * f.price * f.quantity + f.commission for f in fills)
        desk.time += MINUTE
    closed = [e.position for e in desk.effects if isinstance(e, fx.PositionClosed)]
    assert sum(p.net_pnl for p in closed) == cash
    assert sum(d.pnl for d in desk.book.days.values()) == cash


def test_day_counters_reset_at_midnight() -> None:
    """Incident 92: counters belong to their UTC day."""
    desk = Desk()
    desk.open()
    desk.fill(desk.placed(OrderPurpose.STOP_LOSS)[0])
    assert desk.book.day(desk.time).trades == 1
    assert desk.book.day(desk.time + 24 * 60 * MINUTE).trades == 0


def test_manual_close_answers_its_request() -> None:
    """An operator closes in any state and learns the order."""
    desk = Desk()
    desk.open()
    desk.tell(inputs.ClosePosition("r1", "BTCUSDT"))
    desk.tell(inputs.ClosePosition("r2", "ETHUSDT"))
    assert [(e.request_id, e.ok) for e in desk.effects if isinstance(e, fx.Answer)] == [
        ("r1", True),
        ("r2", False),
    ]
