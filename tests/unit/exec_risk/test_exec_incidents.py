"""Failures of earlier systems that the executor's core must not repeat."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.protection.protection_policy import ProtectionPolicy
from services.exec_risk.core.risk.sizing import size
from services.trade.order import OrderPurpose, OrderState, Side
from tests.unit.exec_risk.account_desk import MINUTE, Desk, filters_of, report, signal_of

D = Decimal
ENTRY, EXIT, STOP = OrderPurpose.ENTRY, OrderPurpose.EXIT, OrderPurpose.STOP_LOSS


def decided(desk: Desk) -> list[tuple[str, str]]:
    """Rule and reason of each judged signal."""
    return [(e.rule, e.reason) for e in desk.effects if isinstance(e, fx.RiskDecided)]


def test_only_entries_may_make_a_position_larger() -> None:
    """Incident 9: entries carry no reduce-only, everything else does."""
    desk = Desk()
    desk.open()
    desk.tell(inputs.ClosePosition("r", "BTCUSDT"))
    flags = {o.purpose: o.reduce_only for o in desk.placed()}
    assert len(flags) == 4
    assert [p for p, reduces in flags.items() if not reduces] == [ENTRY]


def test_one_exit_however_many_ask_for_it() -> None:
    """Incident 14: operator, signal, time and a missing stop ask; one order goes, one reason."""
    desk = Desk()
    desk.open()
    position = desk.book.positions["BTCUSDT"]
    desk.tell(inputs.ClosePosition("r1", "BTCUSDT"))
    desk.tell(inputs.ClosePosition("r2", "BTCUSDT"))
    desk.tell(inputs.ProtectionOverdue(position.position_id))
    desk.time += 120 * MINUTE
    desk.round(signal_of("BTCUSDT", Side.SELL, desk.time))
    desk.tell(inputs.Tick())
    assert len(desk.placed(EXIT)) == 1
    assert str(desk.book.positions["BTCUSDT"].exit_reason) == "MANUAL"


@given(st.decimals("0", "0.002", places=4), st.decimals("0", "0.002", places=4))
def test_a_target_that_costs_would_eat_is_refused(fee: Decimal, slip: Decimal) -> None:
    """Incident 18: an entry passes only when its target clears fees and slippage both ways."""
    small = ProtectionPolicy(
        min_stop_fraction=D("0.0015"),
        min_take_fraction=D("0.003"),
        min_reward=D(2),
        max_reward=D(2),
        assumed_spread=D(0),
        stop_atr=D(0),
    )
    desk = Desk(Policy(taker_fee=fee, max_slippage=slip, protection=small))
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    clears = D("0.003") > 2 * fee + slip
    assert decided(desk)[0][0] == ("approved" if clears else "target_clears_costs")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["tick", "report", "read", "round"]), max_size=25))
def test_protection_at_rest_is_left_alone(events: list[str]) -> None:
    """Incident 21: nothing is cancelled or placed anew while stop and target rest as wanted."""
    desk = Desk()
    entry = desk.open()
    resting = tuple(report(o) for o in desk.book.live_orders())
    held = ex.ExchangePosition("BTCUSDT", entry.quantity, D(100), D(100), D(0))
    desk.effects.clear()
    for event in events:
        if event == "tick":
            desk.tell(inputs.Tick())
        elif event == "report":
            desk.tell(resting[0])
        elif event == "read":
            wallet = desk.book.wallet or D(0)
            account = ex.AccountReport(wallet, wallet, desk.time, (held,))
            snapshot = ex.ExchangeSnapshot(account, resting)
            desk.tell(inputs.SnapshotRead(snapshot, "user stream came up"))
        else:
            desk.time += MINUTE
            desk.round()
    assert not desk.placed() and not desk.of(fx.Cancel)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_never_two_directions_or_two_entries_on_a_symbol(seed: int) -> None:
    """Incident 31: whatever signals come, a symbol holds one position or one entry on its way."""
    dice = random.Random(seed)  # noqa: S311 - a seeded test
    desk = Desk(Policy(cooldown_ms=0))
    for _ in range(12):
        side = dice.choice(list(Side))
        desk.round(signal_of("BTCUSDT", side, desk.time, dice.random()))
        for order in desk.book.live_orders():
            if order.purpose in (ENTRY, EXIT) and dice.random() < 0.7:
                desk.fill(order)
        for order in desk.book.live_orders():
            if order.purpose not in (ENTRY, EXIT) and not desk.book.positions:
                desk.tell(report(order, OrderState.CANCELED))
        entries = [o for o in desk.book.live_orders("BTCUSDT") if o.purpose is ENTRY]
        assert len(entries) + len(desk.book.positions) <= 1
        desk.time += MINUTE


@given(
    wanted=st.decimals("0", "200000", places=2),
    leverage=st.integers(1, 125),
    price=st.decimals("0.5", "100000", places=2),
    limit=st.decimals("0", "100000", places=2),
    step=st.sampled_from(["0.001", "0.01", "1", "10"]),
    least=st.sampled_from(["5", "20", "100"]),
)
def test_a_size_keeps_every_filter_and_the_limit(
    wanted: Decimal, leverage: int, price: Decimal, limit: Decimal, step: str, least: str
) -> None:
    """Incidents 36, 38, 40, 41: margin once, exact steps, up only inside the limit, no dust."""
    filters = replace(
        filters_of("X"), step_size=D(step), min_quantity=D(step), min_notional=D(least)
    )
    found = size(wanted=wanted, price=price, leverage=leverage, limit=limit, filters=filters)
    assert found.notional == found.quantity * price
    assert found.margin == found.notional / leverage
    assert found.notional <= limit
    assert filters.floor_quantity(found.quantity) == found.quantity
    floor = max(filters.ceil_quantity(filters.min_notional / price), filters.min_quantity)
    if found.notional > wanted:
        assert found.quantity == floor, "up to the least notional and no further"
    if wanted and floor * price <= limit:
        assert found.quantity >= min(floor, filters.market_max_quantity)


def test_a_quantity_of_nothing_is_refused_with_its_reason() -> None:
    """Incident 41: rounded to 0 means no order, and the reason says so."""
    desk = Desk()
    coarse = replace(filters_of("BTCUSDT"), step_size=D(1000), min_quantity=D(1000))
    desk.book.filters["BTCUSDT"] = coarse
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    rule, reason = decided(desk)[0]
    assert (rule in ("filters", "margin", "gross_exposure"), bool(reason)) == (True, True)
    assert not desk.placed()


def test_equity_is_the_wallet_plus_what_positions_gained() -> None:
    """Incident 86: one equity, from the futures wallet and the last prices, with its sign."""
    desk = Desk()
    entry = desk.open(side=Side.SELL)
    wallet = desk.book.wallet or D(0)
    desk.tell(ex.PriceReport("BTCUSDT", desk.time + 1, D(103)))
    assert desk.book.equity() == wallet - 3 * entry.quantity


def test_funding_is_part_of_the_positions_profit_once() -> None:
    """Incident 93: funding counts in position, day and wallet, once a settlement."""
    desk = Desk()
    desk.open()
    before, wallet = desk.book.positions["BTCUSDT"].net_pnl, desk.book.wallet or D(0)
    pnl = desk.book.day(desk.time).pnl
    for _ in range(3):
        desk.tell(ex.FundingReport("BTCUSDT", D("-1.25"), desk.time, "f1"))
    assert desk.book.positions["BTCUSDT"].net_pnl == before - D("1.25")
    assert desk.book.day(desk.time).pnl == pnl - D("1.25")
    assert desk.book.wallet == wallet - D("1.25")
