"""Directives in the core: once, in time, never more than is held, never the other way around."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core.inputs import DirectiveHeard, PolicyRead, Tick
from services.exec_risk.core.policy import Policy
from services.trade.fund_policy import Directive, DirectiveAction, FundMode, FundPolicy, Layer
from services.trade.order import OrderPurpose, OrderState, Side
from services.trade.position import ExitReason
from tests.unit.exec_risk.account_desk import MINUTE, Desk

HALF = Decimal("0.5")
REDUCTIONS = (DirectiveAction.REDUCE, DirectiveAction.PARTIAL_TAKE_PROFIT, DirectiveAction.CLOSE)


def asked(
    desk: Desk,
    action: DirectiveAction,
    share: Decimal = HALF,
    *,
    name: str = "dir-1",
    layer: Layer = Layer.PBA,
    wait: int = 0,
) -> Directive:
    """A directive for the open position."""
    (position,) = desk.book.positions.values()
    return Directive(
        directive_id=name,
        account="main",
        layer=layer,
        action=action,
        symbol=position.symbol,
        position_id=position.position_id,
        share=share,
        reasons=("because",),
        decided_at=desk.time - 1,
        effective_from=desk.time + wait,
        deadline=desk.time + wait + 2 * MINUTE,
    )


def answers(desk: Desk) -> list[fx.DirectiveApplied]:
    """Return what became of the directives."""
    return [e for e in desk.effects if isinstance(e, fx.DirectiveApplied)]


def fill_all(desk: Desk) -> None:
    """Fill entries and exits, as an exchange does that clips what reduces."""
    for made in desk.book.live_orders():
        if made.purpose in (OrderPurpose.EXIT, OrderPurpose.ENTRY):
            if made.state is OrderState.SUBMITTED:
                desk.accept(made)
            order = desk.book.orders[made.client_order_id]
            held = desk.book.positions.get(order.symbol)
            most = order.remaining if not order.reduce_only else held.quantity if held else 0
            if not order.state.final and most:
                desk.fill(order, min(order.remaining, Decimal(most)))
    desk.accept_all()


def opened(side: Side = Side.BUY, policy: Policy | None = None) -> Desk:
    """A desk with a protected position, a minute later."""
    desk = Desk(policy)
    desk.open(side=side)
    desk.time += MINUTE
    return desk


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("action", REDUCTIONS)
def test_what_reduces_closes_its_share_and_no_more(side: Side, action: DirectiveAction) -> None:
    desk = opened(side)
    (held,) = desk.book.positions.values()
    directive = asked(desk, action)
    desk.tell(DirectiveHeard(directive))
    (answer,) = answers(desk)
    (order,) = desk.placed(OrderPurpose.EXIT)
    assert (answer.result, answer.client_order_ids) == ("APPLIED", (order.client_order_id,))
    assert order.reduce_only and order.side is held.side.exit_side
    whole = action is DirectiveAction.CLOSE
    assert order.quantity == (
        held.quantity if whole else desk.book.filters[held.symbol].floor_quantity(held.quantity / 2)
    )
    desk.accept(order)
    desk.fill(order)
    desk.accept_all()
    if whole:
        assert not desk.book.positions
        (closed,) = [e.position for e in desk.effects if isinstance(e, fx.PositionClosed)]
        assert closed.exit_reason is ExitReason.DIRECTIVE
        return
    (rest,) = desk.book.positions.values()
    assert rest.quantity == held.quantity - order.quantity and rest.side is held.side
    stops = desk.book.orders_of(rest.position_id, OrderPurpose.STOP_LOSS)
    assert rest.quantity in [s.quantity for s in stops]
    assert not desk.trader.unprotected()


def worked_off(desk: Desk, position_id: str) -> Decimal:
    """What executions have taken off a position, maybe after its close was sized."""
    exits = (o for o in desk.book.orders.of(position_id) if o.reduce_only and o.execution_id)
    return sum((o.filled_quantity for o in exits), Decimal(0))


@example(  # the reduction fills after the close was sized for what the entry filled on
    story=[
        (DirectiveAction.SCALE_IN, Decimal("0.02"), "dir-1", False, False),
        (DirectiveAction.REDUCE, Decimal("0.01"), "dir-3", False, False),
        (DirectiveAction.CLOSE, Decimal("0.01"), "dir-2", True, False),
        (DirectiveAction.REDUCE, Decimal("0.01"), "dir-1", False, False),
    ],
    side=Side.BUY,
)
@example(
    story=[
        (DirectiveAction.REDUCE, Decimal("0.86"), "dir-1", False, True),
        (DirectiveAction.REDUCE, Decimal("0.15"), "dir-2", False, False),
    ],
    side=Side.BUY,
)
@given(
    story=st.lists(
        st.tuples(
            st.sampled_from(DirectiveAction),
            st.decimals("0.01", 1, places=2),
            st.sampled_from(("dir-1", "dir-2", "dir-3")),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    ),
    side=st.sampled_from(Side),
)
def test_never_more_than_the_position_never_the_other_way_and_never_twice(
    story: list[tuple[DirectiveAction, Decimal, str, bool, bool]], side: Side
) -> None:
    desk = opened(side)
    (held,) = desk.book.positions.values()
    template = asked(desk, DirectiveAction.REDUCE)
    for action, share, name, fills, restarts in story:
        directive = replace(template, action=action, share=share, directive_id=name)
        desk.tell(DirectiveHeard(directive))
        desk.tell(DirectiveHeard(directive))
        now = desk.book.positions.get(held.symbol)
        exits = [o for o in desk.book.live_orders() if o.purpose is OrderPurpose.EXIT]
        for worked in (True, False):
            # a close does not wait for an order at work: the exchange clips a surplus, and
            # expires what is left when nothing is held
            left = sum((o.remaining for o in exits if bool(o.execution_id) is worked), Decimal(0))
            took = Decimal(0) if worked else worked_off(desk, held.position_id)
            assert now is None or left <= now.quantity + took
        assert all(o.reduce_only and o.side is held.side.exit_side for o in exits)
        if restarts:
            desk = desk.restart()
            desk.book.wallet = Decimal(10_000)
            desk.tell(DirectiveHeard(directive))
        if fills:
            fill_all(desk)
        assert {p.side for p in desk.book.positions.values()} <= {held.side}
    told = [a.directive_id for a in answers(desk)]
    assert len(told) == len(set(told)) == len({name for _, _, name, _, _ in story})


def test_it_waits_for_its_time_and_expires_after_its_deadline() -> None:
    desk = opened()
    desk.tell(DirectiveHeard(asked(desk, DirectiveAction.REDUCE, wait=MINUTE)))
    assert not answers(desk)
    desk.time += MINUTE
    desk.tell(Tick())
    assert [a.result for a in answers(desk)] == ["APPLIED"]
    late = asked(desk, DirectiveAction.CLOSE, name="dir-2")
    desk.time += 3 * MINUTE
    desk.tell(DirectiveHeard(late))
    assert [a.result for a in answers(desk)] == ["APPLIED", "EXPIRED"]
    assert not [o for o in desk.placed(OrderPurpose.EXIT) if o.quantity == Decimal(1)]


def test_a_later_position_of_the_symbol_and_another_account_are_not_meant() -> None:
    desk = opened()
    directive = asked(desk, DirectiveAction.CLOSE)
    desk.tell(DirectiveHeard(replace(directive, position_id="pos-other")))
    assert [(a.result, a.reason) for a in answers(desk)] == [("REFUSED", "position_gone")]
    desk.tell(DirectiveHeard(replace(directive, account="second", directive_id="dir-2")))
    assert len(answers(desk)) == 1 and not desk.placed(OrderPurpose.EXIT)


def test_what_adds_passes_every_rule_of_entries_and_the_stop_follows() -> None:
    desk = opened()
    (held,) = desk.book.positions.values()
    desk.round()
    desk.tell(DirectiveHeard(asked(desk, DirectiveAction.SCALE_IN)))
    (answer,) = answers(desk)
    assert answer.result == "APPLIED", answer.reason
    order = desk.placed(OrderPurpose.ENTRY)[-1]
    assert answer.client_order_ids == (order.client_order_id,)
    assert order.position_id == held.position_id and order.side is held.side.entry_side
    assert 0 < order.quantity <= held.quantity / 2
    desk.accept(order)
    desk.fill(order)
    desk.accept_all()
    (grown,) = desk.book.positions.values()
    assert grown.quantity == held.quantity + order.quantity
    stops = desk.book.orders_of(grown.position_id, OrderPurpose.STOP_LOSS)
    assert grown.quantity in [s.quantity for s in stops]
    desk.time += 10 * MINUTE
    desk.tell(Tick())
    assert not desk.trader.unprotected()


def test_what_adds_is_refused_by_the_rule_that_forbids_it() -> None:
    desk = opened()
    desk.tell(PolicyRead((FundPolicy(fund_mode=FundMode.CRITICAL),)))
    desk.round()
    desk.tell(DirectiveHeard(asked(desk, DirectiveAction.SCALE_IN)))
    (answer,) = answers(desk)
    assert answer.result == "REFUSED" and answer.reason.startswith("fund_mode: ")
    desk.tell(DirectiveHeard(asked(desk, DirectiveAction.REDUCE, name="dir-2")))
    assert answers(desk)[-1].result == "APPLIED"


def test_the_exit_by_time_is_put_off_once_and_over_a_restart() -> None:
    desk = opened()
    longest = desk.book.policy.protection.max_holding_ms
    start = next(iter(desk.book.positions.values())).opened_time
    for name in ("dir-1", "dir-2"):
        desk.tell(DirectiveHeard(asked(desk, DirectiveAction.EXTEND_HOLD, name=name)))
    again = desk.restart()
    again.time = start + longest
    again.round()
    assert not again.placed(OrderPurpose.EXIT)
    again.time = start + longest + longest // 2
    again.round()
    assert again.placed(OrderPurpose.EXIT)
    assert next(iter(again.book.positions.values())).exit_reason is ExitReason.TIMEOUT


def test_the_layer_that_comes_first_is_heard_first() -> None:
    desk = opened()
    adds = asked(desk, DirectiveAction.SCALE_IN, name="a", layer=Layer.PAL, wait=MINUTE)
    closes = asked(desk, DirectiveAction.CLOSE, name="b", layer=Layer.HFOS, wait=MINUTE)
    for directive in (adds, closes):
        desk.tell(DirectiveHeard(directive))
    desk.time += MINUTE
    desk.round()
    assert [(a.directive_id, a.result) for a in answers(desk)] == [
        ("b", "APPLIED"),
        ("a", "REFUSED"),
    ]
