"""A cancel is asked for once at a time: not again before it is known what became of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.orders import orders
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.trader import Event
from services.trade.order import OrderPurpose, OrderState, Side
from tests.unit.exec_risk.account_desk import Desk, report
from tests.unit.exec_risk.hostile_exchange import HostileExchange

TAKE = OrderPurpose.TAKE_PROFIT


class Counting(HostileExchange):
    """Counts, by client order id, cancels that were asked for and what settled them."""

    def __init__(self, seed: int) -> None:
        self.asked: dict[str, int] = {}
        self.settled: dict[str, int] = {}
        self.doubted: set[str] = set()
        super().__init__(seed, Policy(cooldown_ms=0))

    def tell(self, event: Event) -> None:
        self._settle(event)
        before = len(self.desk.effects)
        super().tell(event)
        for effect in self.desk.effects[before:]:
            if isinstance(effect, fx.Cancel):
                name = effect.order.client_order_id
                self.asked[name] = self.asked.get(name, 0) + 1
                assert self.asked[name] <= self.settled.get(name, 0) + 1, (event, effect.order)

    def _settle(self, event: Event) -> None:
        if isinstance(event, inputs.SnapshotRead):
            # a restart: whoever asked is gone, and what is stored is not that it was sent
            self.settled = dict(self.asked)
            self.doubted.clear()
        elif isinstance(event, inputs.CancelAnswered):
            name, outcome = event.client_order_id, event.outcome
            if isinstance(outcome, ex.Accepted):
                self._count(name)
            else:
                self.doubted.add(name)
        elif isinstance(event, inputs.OrderFound) and event.client_order_id in self.doubted:
            self.doubted.discard(event.client_order_id)
            self._count(event.client_order_id)

    def _count(self, name: str) -> None:
        self.settled[name] = self.settled.get(name, 0) + 1


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**9), side=st.sampled_from(Side), steps=st.integers(20, 150))
def test_no_cancel_is_asked_for_while_another_one_is_on_its_way(
    seed: int, side: Side, steps: int
) -> None:
    """Incident 21: whatever is refused, lost, late or told twice, and after restarts too."""
    world = Counting(seed)
    world.kind = False
    world.enter(side)
    for _ in range(steps):
        world.step()
    world.settle()
    assert world.asked.keys() <= world.settled.keys()


@pytest.mark.parametrize(
    "outcome", [ex.Unknown("lost"), ex.Refused("-2011", "unknown order")], ids=["lost", "refused"]
)
def test_a_targets_cancel_waits_for_what_became_of_the_one_before(
    outcome: ex.RequestOutcome,
) -> None:
    """Ticks and other orders' answers do not send it again; that it still rests does, once."""
    desk = Desk()
    desk.open()
    target = desk.placed(TAKE)[0]
    orders.cancel(desk.book, target)
    desk.book.out.clear()
    desk.tell(inputs.CancelAnswered(target.client_order_id, outcome))
    for _ in range(5):
        desk.tell(inputs.Tick())
        desk.accept_all()
    again = [e for e in desk.of(fx.Cancel) if isinstance(e, fx.Cancel)]
    assert target.client_order_id not in {e.order.client_order_id for e in again}
    desk.tell(inputs.OrderFound(target.client_order_id, report(target)))
    desk.tell(inputs.Tick())
    orders.cancel(desk.book, desk.book.orders[target.client_order_id])
    asked = [*desk.of(fx.Cancel), *(e for e in desk.book.out if isinstance(e, fx.Cancel))]
    assert [e.order.client_order_id for e in asked if isinstance(e, fx.Cancel)].count(
        target.client_order_id
    ) == 1


def test_that_it_still_rests_says_nothing_while_the_cancel_is_on_its_way() -> None:
    """A question that was asked before the cancel is answered after it was sent."""
    desk = Desk()
    entry = desk.open()
    target = desk.placed(TAKE)[0]
    desk.fill(desk.placed(OrderPurpose.STOP_LOSS)[0], entry.quantity)
    assert target.client_order_id in desk.book.cancelling
    desk.effects.clear()
    desk.tell(inputs.OrderFound(target.client_order_id, report(target)))
    desk.tell(inputs.Tick())
    assert not desk.of(fx.Cancel)
    desk.tell(inputs.CancelAnswered(target.client_order_id, ex.Accepted(report(target))))
    desk.tell(report(target, OrderState.CANCELED))
    assert target.client_order_id not in desk.book.unanswered
