"""Exits: one writer, no gate, a deadline; by time, and whatever the trading state says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Gates, Policy
from services.exec_risk.core.protection.protection import AbsurdDistance, check_stop
from services.exec_risk.core.protection.protection_policy import Partial, ProtectionPolicy
from services.exec_risk.core.risk.risk_policy import RiskPolicy
from services.exec_risk.term.overdue import Overdue
from services.trade.order import OrderPurpose, OrderState, Side
from services.trade.position import ExitReason, PositionSide, TradingState
from tests.unit.exec_risk.account_desk import MINUTE, Desk, report, signal_of
from tests.unit.exec_risk.simulated_world import QuickClock

D = Decimal
STOP, TAKE, EXIT = OrderPurpose.STOP_LOSS, OrderPurpose.TAKE_PROFIT, OrderPurpose.EXIT


def test_a_position_is_left_by_time_even_when_all_entries_are_stopped() -> None:
    """Incident 16: HALTED, draining and in maintenance, the exit goes for all that is held."""
    desk = Desk()
    entry = desk.open()
    desk.book.trading_state = TradingState.HALTED
    desk.tell(inputs.GatesChanged(Gates(draining=True, maintenance=True)))
    desk.time += desk.book.policy.protection.max_holding_ms
    desk.round()
    (order,) = desk.placed(EXIT)
    assert order.quantity == entry.quantity
    assert desk.book.positions["BTCUSDT"].exit_reason is ExitReason.TIMEOUT


def test_an_exit_without_a_price_or_a_wallet_goes() -> None:
    """Incident 15: nothing that an entry needs is asked of an exit."""
    desk = Desk()
    desk.open()
    desk.book.wallet = None
    desk.book.prices.clear()
    desk.book.connected = False
    desk.tell(inputs.ClosePosition("r", "BTCUSDT"))
    assert len(desk.placed(EXIT)) == 1


@pytest.mark.parametrize("state", [OrderState.SUBMITTED, OrderState.UNKNOWN, None])
def test_an_exit_that_does_not_end_is_told_and_looked_at_again(state: OrderState | None) -> None:
    """Incident 10: no exit goes into a black hole, whether it was lost, refused or never made."""
    desk = Desk()
    desk.open()
    desk.tell(inputs.ClosePosition("r", "BTCUSDT"))
    (order,) = desk.placed(EXIT)
    if state is None:
        desk.refuse(order, "-2022")
    else:
        desk.book.orders[order.client_order_id] = replace(order, state=state)
    desk.effects.clear()
    desk.tell(inputs.ExitOverdue(order.position_id))
    assert [e.alert_type for e in desk.effects if isinstance(e, fx.Alert)] == ["EXIT_OVERDUE"]
    assert desk.of(fx.Reconcile)
    asked = [e.order.client_order_id for e in desk.effects if isinstance(e, fx.Resolve)]
    assert asked == ([] if state is None else [order.client_order_id])
    assert len(desk.placed(EXIT)) == (1 if state is None else 0)


async def test_an_exit_has_a_deadline_of_wall_time() -> None:
    """Incident 10: told once in each deadline, for as long as the position stays open."""
    clock = QuickClock()
    overdue = Overdue(clock, protection=2.0, exits=1.0, lockstep=30.0, free=2.0)
    desk = Desk()
    desk.open()
    assert overdue.look(desk.trader, lockstep=False) == []
    desk.tell(inputs.ClosePosition("r", "BTCUSDT"))
    owner = desk.book.positions["BTCUSDT"].position_id
    assert overdue.look(desk.trader, lockstep=False) == []
    await clock.sleep(1.5)
    assert overdue.look(desk.trader, lockstep=True) == []
    assert overdue.look(desk.trader, lockstep=False) == [inputs.ExitOverdue(owner)]
    assert overdue.look(desk.trader, lockstep=False) == []
    await clock.sleep(1.5)
    assert overdue.look(desk.trader, lockstep=False) == [inputs.ExitOverdue(owner)]
    desk.fill(desk.placed(EXIT)[0])
    await asyncio.sleep(0)
    assert overdue.look(desk.trader, lockstep=False) == []


def test_an_exit_that_was_refused_is_tried_again_at_every_tick() -> None:
    """Incident 10: no refusal ends an exit; between ticks it is not sent without end."""
    desk = Desk()
    desk.open()
    desk.tell(inputs.ClosePosition("r", "BTCUSDT"))
    while not desk.book.exit_hold:
        desk.refuse(desk.placed(EXIT)[-1], "-1008")
    tries = len(desk.placed(EXIT))
    assert tries == desk.book.policy.retry_attempts
    for _ in range(3):
        desk.tell(inputs.Tick())
        tries += 1
        assert len(desk.placed(EXIT)) == tries
        desk.refuse(desk.placed(EXIT)[-1], "-1008")
        assert len(desk.placed(EXIT)) == tries


def test_a_stop_that_finds_no_position_is_asked_for_again() -> None:
    """-2022: the fill may not have come there yet; the exchange is read, the stop tried again."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    desk.fill(desk.placed()[0])
    desk.refuse(desk.placed(STOP)[0], "-2022")
    assert desk.of(fx.Reconcile)
    assert len(desk.placed(STOP)) == 2 and not desk.placed(EXIT)


def test_a_stop_rests_until_the_exit_has_filled() -> None:
    """Incident 7: while it is being closed a position keeps the stop on the exchange."""
    desk = Desk()
    desk.open()
    desk.tell(inputs.ClosePosition("r", "BTCUSDT"))
    assert not desk.of(fx.Cancel)
    desk.fill(desk.placed(EXIT)[0])
    gone = {e.order.purpose for e in desk.effects if isinstance(e, fx.Cancel)}
    assert gone == {STOP, TAKE}


@pytest.mark.parametrize(
    ("side", "stop", "market"),
    [
        (PositionSide.SHORT, "98", None),
        (PositionSide.LONG, "6100", "100"),
        (PositionSide.LONG, "-192", None),
        (PositionSide.LONG, "0", None),
        (PositionSide.LONG, "50", None),
        (PositionSide.SHORT, "NaN", None),
        (PositionSide.SHORT, "Infinity", None),
        (PositionSide.LONG, "101", "100.5"),
        (PositionSide.SHORT, "99", "99.5"),
    ],
)
def test_absurd_and_wrong_side_stops_are_refused(
    side: PositionSide, stop: str, market: str | None
) -> None:
    """Incidents 1 and 2: refused, never corrected; a SHORT's stop at 98 of 100 needs a price."""
    told = None if market is None else D(market)
    if (side, stop) == (PositionSide.SHORT, "98"):
        told = D(100)
    with pytest.raises(AbsurdDistance):
        check_stop(side, D(100), D(stop), told, D(5))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_trail_fraction": D(150)},
        {"min_stop_fraction": D(0)},
        {"max_stop_fraction": D(10)},
        {"fixed_stop_fraction": D(1)},
        {"trail_atr": D(0)},
        {"min_reward": D(5)},
        {"partials": (Partial(D(50), D(1)),)},
        {"partials": (Partial(D("0.2"), D(2)), Partial(D("0.2"), D(1)))},
    ],
)
def test_percentages_for_fractions_stop_the_start(wrong: dict[str, object]) -> None:
    """Incident 3: a distance of 150 is never sent; it is refused where it is set."""
    with pytest.raises(ValueError):
        ProtectionPolicy(**wrong)  # type: ignore[arg-type]


def decided(desk: Desk) -> list[str]:
    """The rule that decided, of each judged signal."""
    return [e.rule for e in desk.effects if isinstance(e, fx.RiskDecided)]


def test_an_adverse_funding_rate_that_eats_the_target_refuses_the_entry() -> None:
    """Incident 18: SHORT pays a rate of -0.75 %; LONG receives it, and may enter."""
    held = 9 * 60 * MINUTE
    wide = RiskPolicy(max_funding=D(1))
    protection = ProtectionPolicy(follow_prices=True, max_holding_ms=held)
    policy = Policy(protection=protection, risk=wide)
    for side, rate, expected in (
        (Side.SELL, "-0.05", "target_clears_costs"),
        (Side.BUY, "-0.05", "approved"),
        (Side.BUY, "0.05", "target_clears_costs"),
    ):
        desk = Desk(policy)
        desk.tell(ex.PriceReport("BTCUSDT", desk.time - 1, D(100), None, None, D(rate)))
        desk.round(signal_of("BTCUSDT", side, desk.time))
        assert decided(desk) == [expected]


def test_a_stop_inside_the_spread_refuses_the_entry() -> None:
    """Incident 18: a stop that the spread alone can reach is no stop."""
    wide = RiskPolicy(max_spread=D(1))
    desk = Desk(Policy(protection=ProtectionPolicy(follow_prices=True), risk=wide))
    quote = ex.PriceReport("BTCUSDT", desk.time - 1, D(100), D("99.8"), D("100.2"))
    desk.tell(quote)
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    assert decided(desk) == ["stop_outside_spread"]


@pytest.mark.parametrize("dynamic", [True, False])
def test_distances_follow_volatility_and_confidence_only_where_they_shall(dynamic: bool) -> None:
    """DYNAMIC_TPSL_ENABLED: R:R between 1.5 and 4 by confidence, the stop by volatility."""
    found = set()
    for confidence, atr in ((0.2, "0.003"), (0.9, "0.003"), (0.9, "0.009")):
        desk = Desk(Policy(protection=ProtectionPolicy(dynamic=dynamic)))
        desk.round(signal_of("BTCUSDT", Side.BUY, desk.time, confidence, atr))
        (stored,) = [e.plan for e in desk.effects if isinstance(e, fx.StorePlan)]
        reward = stored.take_fraction / stored.stop_fraction
        assert D("1.5") <= reward <= 4
        found.add((stored.stop_fraction, stored.take_fraction))
    assert len(found) == (3 if dynamic else 1)


def test_protection_is_there_again_after_a_restart_before_anything_else() -> None:
    """Incident 12: a position read back without any order has its protection asked for at once."""
    desk = Desk()
    entry = desk.open()
    for order in list(desk.book.orders):
        del desk.book.orders[order]
    desk.effects.clear()
    held = ex.ExchangePosition("BTCUSDT", entry.quantity, D(100), D(100), D(0))
    account = ex.AccountReport(D(10_000), D(10_000), desk.time, (held,))
    desk.tell(inputs.SnapshotRead(ex.ExchangeSnapshot(account, ()), "start"))
    assert [o.quantity for o in desk.placed(STOP)] == [entry.quantity]
    assert sum(o.quantity for o in desk.placed(TAKE)) == entry.quantity
    assert desk.trader.unprotected()  # not ready before the exchange has them
    desk.accept_all()
    assert not desk.trader.unprotected()


def test_a_position_says_that_its_stop_trails() -> None:
    """position.opened carries stop, nearest target, and that the stop will trail."""
    for trails in (True, False):
        desk = Desk(Policy(protection=ProtectionPolicy(trailing=trails)))
        desk.open()
        (opened,) = [e for e in desk.effects if isinstance(e, fx.PositionOpened)]
        assert opened.trailing is trails
        assert opened.stop_loss_price == D("99.2")
        assert opened.take_profit_price == D("101.2")


def test_a_target_that_is_gone_is_placed_again_without_closing() -> None:
    """A target that somebody cancelled at the exchange is no reason to leave."""
    desk = Desk()
    desk.open()
    target = desk.placed(TAKE)[0]
    desk.effects.clear()
    desk.tell(report(target, OrderState.CANCELED))
    (again,) = desk.placed()
    assert (again.purpose, again.quantity) == (TAKE, target.quantity)


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_coarse_tick_does_not_make_a_stop_absurd(side: Side) -> None:
    """Incident 40: rounding to the exchange's tick, away from the entry, is not an error."""
    desk = Desk()
    desk.book.filters["BTCUSDT"] = replace(desk.book.filters["BTCUSDT"], tick_size=D("0.5"))
    desk.round(signal_of("BTCUSDT", side, desk.time, atr="0.002"))
    (entry,) = desk.placed(OrderPurpose.ENTRY)
    desk.accept(entry)
    desk.fill(entry, price=D("99.7"))
    (stop,) = desk.placed(STOP)
    assert stop.trigger_price is not None and stop.trigger_price % D("0.5") == 0
    assert not desk.placed(EXIT)
