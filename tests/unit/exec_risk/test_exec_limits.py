"""Limits hold for all signals of a round together, and nothing stays reserved."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.risk import entry_counts
from services.exec_risk.core.risk.risk_policy import RiskPolicy
from services.trade.clusters import cluster_of
from services.trade.order import Order, OrderPurpose, OrderState, Side
from services.trade.position import TradingState
from tests.unit.exec_risk.account_desk import MINUTE, PRICE, Desk, report, signal_of

D = Decimal
ENTRY, EXIT = OrderPurpose.ENTRY, OrderPurpose.EXIT
SYMBOLS = tuple(f"{coin}USDT" for coin in ("BTC", "ETH", "SOL", "ADA", "AVAX", "XRP", "ZZZ", "BNB"))
SHARES = st.sampled_from([D("0.2"), D("0.4"), D(1)])


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Limits of which some are tight and some are out of reach, so that each comes to decide."""
    return Policy(
        leverage=draw(st.sampled_from([1, 5])),
        max_position_usd=draw(st.sampled_from([D(1500), D(9000)])),
        max_exposure_usd=draw(st.sampled_from([D(3000), D(9000), D(60_000)])),
        max_positions=draw(st.sampled_from([2, 4, 20])),
        cooldown_ms=0,
        risk_per_trade=D("0.05"),
        risk=RiskPolicy(
            max_net_share=draw(SHARES),
            max_symbol_share=draw(SHARES),
            max_cluster_share=draw(SHARES),
            max_trades_per_day=draw(st.sampled_from([5, 99])),
            max_orders_per_minute=draw(st.sampled_from([2, 99])),
            max_symbol_losses=99,
            max_execution_errors=99,
            cautious_losses=98,
            emergency_losses=99,
            cautious_drawdown=D("0.9"),
            defensive_drawdown=D("0.95"),
            cold_start_share=D(1),
        ),
    )


def held(desk: Desk, side: Side, *, pending: bool) -> dict[str, Decimal]:
    """Notional by symbol of one direction, with or without what may still fill; counted here."""
    found = dict.fromkeys(SYMBOLS, D(0))
    for position in desk.book.positions.values():
        if position.side.entry_side is side:
            found[position.symbol] += position.quantity * PRICE
    for order in desk.book.orders.values():
        if pending and order.purpose is ENTRY and order.side is side and not order.state.final:
            found[order.symbol] += order.remaining * PRICE
    for execution in desk.book.executing.entering():
        child = desk.book.orders.get(execution.child)
        waits = child is None or child.state.final
        if pending and execution.side is side and execution.sends and waits:
            found[execution.symbol] += execution.left * PRICE
    return found


def check(desk: Desk, entered: set[Side]) -> None:
    """No limit is exceeded if every entry on its way fills, nor if any of them does not.

    Net exposure is a limit of the sides that entered: an exit of the other side may raise it.
    """
    book, policy, risk = desk.book, desk.book.policy, desk.book.policy.risk
    equity = book.equity() or D(0)
    # commissions of entries that filled have made the equity a little smaller since
    equity *= 1 + D("0.01")
    capacity = min(policy.max_exposure_usd, equity * policy.margin_share * policy.leverage)
    both = {side: held(desk, side, pending=True) for side in Side}
    gross = sum((sum(found.values(), D(0)) for found in both.values()), D(0))
    assert gross <= policy.max_exposure_usd
    assert book.margin_used() == gross / policy.leverage <= equity * policy.margin_share
    taken = {symbol for found in both.values() for symbol, usd in found.items() if usd}
    assert len(taken) <= policy.max_positions
    for symbol in SYMBOLS:
        whole = sum((found[symbol] for found in both.values()), D(0))
        assert whole <= min(policy.max_position_usd, capacity * risk.max_symbol_share)
    for side, found in both.items():
        for cluster in {cluster_of(s, risk.clusters) for s in SYMBOLS}:
            share = [usd for s, usd in found.items() if cluster_of(s, risk.clusters) == cluster]
            assert sum(share, D(0)) <= capacity * risk.max_cluster_share
        if side in entered:
            other = held(desk, side.opposite, pending=False)
            net = sum(found.values(), D(0)) - sum(other.values(), D(0))
            assert net <= capacity * risk.max_net_share
    decided = [e.time for e in desk.effects if isinstance(e, fx.RiskDecided) and e.quantity]
    assert sum(desk.time - time < MINUTE for time in decided) <= risk.max_orders_per_minute
    # a fill that comes after the end of its position opens one that nobody decided
    own = [e.position for e in desk.effects if isinstance(e, fx.PositionOpened)]
    opened = {p.position_id for p in own if p.signal_id}
    live = {o.position_id for o in book.live_orders() if o.purpose is ENTRY}
    assert len(opened | live) <= risk.max_trades_per_day


def entry_fills(desk: Desk, order: Order, dice: random.Random) -> None:
    step = desk.book.filters[order.symbol].step_size
    part = order.quantity / dice.choice([1, 2, 3])
    desk.fill(order, min(order.remaining, max(part // step * step, step)))


def entry_is_lost(desk: Desk, order: Order, _: random.Random) -> None:
    desk.tell(inputs.PlaceAnswered(order.client_order_id, ex.Unknown("no answer")))


def entry_was_never_sent(desk: Desk, order: Order, _: random.Random) -> None:
    if not order.filled_quantity:
        entry_is_lost(desk, order, _)
        desk.tell(inputs.OrderFound(order.client_order_id, None))


def entry_is_refused(desk: Desk, order: Order, dice: random.Random) -> None:
    if not order.filled_quantity:
        desk.refuse(order, "-2019", retryable=dice.random() < 0.5)


def entry_is_canceled(desk: Desk, order: Order, _: random.Random) -> None:
    desk.tell(replace(report(order, OrderState.CANCELED), filled_quantity=order.filled_quantity))


OUTCOMES: list[Callable[[Desk, Order, random.Random], None]] = [
    entry_fills,
    entry_fills,
    entry_is_lost,
    entry_was_never_sent,
    entry_is_refused,
    entry_is_canceled,
]


@settings(max_examples=150, deadline=None)
@given(policy=policies(), seed=st.integers(0, 100_000))
def test_no_limit_is_ever_exceeded_and_nothing_stays_reserved(policy: Policy, seed: int) -> None:
    """Incidents 31, 36, 48, 52, 53: any signals of a round, any outcome in any order."""
    dice = random.Random(seed)  # noqa: S311 - a seeded test
    desk = Desk(policy, SYMBOLS)
    for _ in range(8):
        desk.time += dice.choice([MINUTE, MINUTE // 2])
        chosen = dice.sample(SYMBOLS, dice.randint(0, len(SYMBOLS)))
        desk.round(
            *(
                signal_of(s, dice.choice(list(Side)), desk.time, dice.random(), dice.choice(ATRS))
                for s in chosen
            )
        )
        plans = desk.book.plans.values()
        entered = {p.side.entry_side for p in plans if p.decided_time == desk.time}
        check(desk, entered)
        live = [o for o in desk.book.live_orders() if o.purpose is ENTRY]
        for order in dice.sample(live, dice.randint(0, len(live))):
            current = desk.book.orders[order.client_order_id]
            if not current.state.final:
                dice.choice(OUTCOMES)(desk, current, dice)
                check(desk, entered)
        exits = [o for o in desk.book.live_orders() if o.purpose is EXIT]
        for order in dice.sample(exits, dice.randint(0, len(exits))):
            desk.fill(order, price=PRICE)
    desk.tell(inputs.SetTradingState("end", TradingState.HALTED, "the day is over"))
    for _ in range(5):
        desk.tell(inputs.Tick())
        for order in [o for o in desk.book.live_orders() if o.purpose is ENTRY]:
            entry_is_canceled(desk, order, dice)
    assert not [o for o in desk.book.live_orders() if o.purpose is ENTRY]
    assert not desk.book.executing.entering()
    assert desk.book.reserved() == 0
    assert entry_counts.slots_used(desk.book) == len(desk.book.positions)
    margins = (p.quantity * PRICE / p.leverage for p in desk.book.positions.values())
    assert desk.book.margin_used() == sum(margins, D(0))


ATRS = ("0.001", "0.004", "0.02")
