"""A position whose protection lacks nothing is not looked at again before something has changed."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.protection.protection_policy import ProtectionPolicy
from services.trade.order import Order, OrderPurpose, OrderState
from tests.unit.exec_risk.account_desk import MINUTE, Desk, fill_of

D = Decimal


def cancels(desk: Desk) -> list[Order]:
    """Orders whose cancel is on its way."""
    return [desk.book.orders[c] for c in sorted(desk.book.cancelling) if c in desk.book.orders]


def refuse_cancels(desk: Desk) -> None:
    for order in cancels(desk):
        outcome = ex.Refused("-1003", "later", retryable=True)
        desk.tell(inputs.CancelAnswered(order.client_order_id, outcome))


def lose_cancels(desk: Desk) -> None:
    for order in cancels(desk):
        desk.tell(inputs.CancelAnswered(order.client_order_id, ex.Unknown("no answer")))


def refuse_all(desk: Desk) -> None:
    for order in desk.book.live_orders():
        if order.state is OrderState.SUBMITTED:
            desk.refuse(order, "-1003", retryable=True)


def end_cancelled(desk: Desk) -> None:
    for order in cancels(desk):
        told = ex.OrderReport(
            order.client_order_id, "x", order.symbol, order.side, OrderState.CANCELED,
            order.quantity, order.filled_quantity, order.average_price, desk.time,
        )  # fmt: skip
        desk.tell(told)


def fill_target(desk: Desk) -> None:
    targets = [o for o in desk.book.live_orders() if o.purpose is OrderPurpose.TAKE_PROFIT]
    if targets and desk.book.positions:
        quantity = min(D("0.010"), targets[0].remaining)
        desk.fill(targets[0], quantity, D(101))


def tick(desk: Desk) -> None:
    desk.tell(inputs.Tick())


def grow(desk: Desk) -> None:
    held = desk.book.positions.get("BTCUSDT")
    if held is not None:
        entry = next(iter(desk.book.orders.values()))
        trade = f"9{len(desk.effects)}"
        desk.tell(ex.FillReport(fill_of(entry, D("0.005"), D(100), trade, desk.time, D(0))))


def candle(price: str) -> Callable[[Desk], None]:
    def close(desk: Desk) -> None:
        desk.time += MINUTE
        desk.close("BTCUSDT", D(price))

    return close


STEPS: dict[str, Callable[[Desk], None]] = {
    "tick": tick,
    "accept": Desk.accept_all,
    "refuse": refuse_all,
    "refuse_cancels": refuse_cancels,
    "lose_cancels": lose_cancels,
    "end_cancelled": end_cancelled,
    "fill_target": fill_target,
    "grow": grow,
    "up": candle("102"),
    "higher": candle("104"),
    "down": candle("99.9"),
}


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=25))
def test_what_rests_is_what_a_second_look_would_leave(steps: list[str]) -> None:
    """The same effects as of a core that looks at everything every time."""
    policy = Policy(protection=ProtectionPolicy(max_holding_ms=10_000 * MINUTE))
    lazy, eager = Desk(policy), Desk(policy)
    for desk in (lazy, eager):
        desk.open()
    for step in steps:
        for _ in range(2):  # the second one sees what the first has left
            STEPS[step](lazy)
            eager.book.at_rest.clear()
            STEPS[step](eager)
            lazy.tell(inputs.Tick())
            eager.book.at_rest.clear()
            eager.tell(inputs.Tick())
    assert lazy.effects == eager.effects
    assert lazy.book == eager.book


def test_a_protection_that_lacks_nothing_rests() -> None:
    desk = Desk()
    desk.open()
    desk.tell(inputs.Tick())
    seen = desk.book.at_rest["BTCUSDT"]
    desk.tell(inputs.Tick())
    assert desk.book.at_rest["BTCUSDT"] is seen


def test_a_cancel_that_was_refused_is_asked_for_again() -> None:
    """Incident 21: all is as it was before the cancel, and yet there is something to do."""
    desk = Desk()
    desk.open()
    candle("102")(desk)
    desk.accept_all()
    asked = [o.client_order_id for o in cancels(desk)]
    assert asked
    for _ in range(3):
        refuse_cancels(desk)
        assert not cancels(desk)
        desk.effects.clear()
        desk.tell(inputs.Tick())
        again = [e.order.client_order_id for e in desk.effects if isinstance(e, fx.Cancel)]
        assert set(asked) <= set(again)
