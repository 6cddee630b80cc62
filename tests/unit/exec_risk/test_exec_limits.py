"""Limits hold for all signals of a round together, and nothing stays reserved."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import exposure, inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.protection_policy import ProtectionPolicy
from services.exec_risk.core.risk_policy import RiskPolicy
from services.trade.order import Order, OrderPurpose, OrderState, Side
from tests.unit.exec_risk.account_desk import MINUTE, PRICE, Desk, report, signal_of

D = Decimal
ENTRY, EXIT = OrderPurpose.ENTRY, OrderPurpose.EXIT
SYMBOLS = tuple(f"{coin}USDT" for coin in ("BTC", "ETH", "SOL", "ADA", "AVAX", "XRP", "ZZZ", "BNB"))
TIGHT = Policy(
    max_position_usd=D(3000),
    max_exposure_usd=D(6000),
    max_positions=4,
    cooldown_ms=0,
    protection=ProtectionPolicy(max_holding_ms=10**12),
    risk_per_trade=D("0.05"),
    risk=RiskPolicy(
        max_trades_per_day=9,
        max_orders_per_minute=3,
        max_symbol_losses=99,
        max_execution_errors=99,
        cautious_losses=98,
        emergency_losses=99,
        cautious_drawdown=D("0.9"),
        defensive_drawdown=D("0.95"),
        cold_start_share=D(1),
    ),
)
"""Limits that a few signals reach."""


def check(desk: Desk, entered: set[Side]) -> None:
    """No limit is exceeded if every entry on its way fills, nor if any of them does not.

    Net exposure is a limit of the sides that entered: an exit of the other side may raise it.
    """
    book, policy, risk = desk.book, desk.book.policy, desk.book.policy.risk
    equity = book.equity() or D(0)
    capacity = exposure.capacity(book, equity)
    # commissions of entries that filled have made the equity a little smaller since
    slack = 1 + D("0.01")
    assert book.gross_exposure() + book.reserved() <= policy.max_exposure_usd
    assert book.margin_used() <= equity * policy.margin_share * slack
    assert book.slots_used() <= policy.max_positions
    assert book.entries_today() <= risk.max_trades_per_day
    assert book.entries_since(MINUTE) <= risk.max_orders_per_minute
    for symbol in SYMBOLS:
        held = exposure.of_symbol(book, symbol)
        assert held <= min(policy.max_position_usd, capacity * risk.max_symbol_share * slack)
        for side in Side:
            cluster = exposure.of_cluster(book, symbol, side)
            assert cluster <= capacity * risk.max_cluster_share * slack
    for side in entered:
        assert exposure.of_side(book, side) <= capacity * risk.max_net_share * slack


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


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_no_limit_is_ever_exceeded_and_nothing_stays_reserved(seed: int) -> None:
    """Incidents 31, 36, 48, 52, 53: any signals of a round, any outcome in any order."""
    dice = random.Random(seed)  # noqa: S311 - a seeded test
    desk = Desk(TIGHT, SYMBOLS)
    for _ in range(8):
        desk.time += dice.choice([MINUTE, MINUTE // 2])
        chosen = dice.sample(SYMBOLS, dice.randint(0, len(SYMBOLS)))
        desk.round(
            *(
                signal_of(s, dice.choice(list(Side)), desk.time, dice.random(), dice.choice(ATRS))
                for s in chosen
            )
        )
        entered = {o.side for o in desk.placed(ENTRY) if o.decided_time == desk.time}
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
    for order in [o for o in desk.book.live_orders() if o.purpose is ENTRY]:
        entry_is_canceled(desk, order, dice)
    assert not [o for o in desk.book.live_orders() if o.purpose is ENTRY]
    assert desk.book.reserved() == 0
    assert desk.book.slots_used() == len(desk.book.positions)


ATRS = ("0.001", "0.004", "0.02")
