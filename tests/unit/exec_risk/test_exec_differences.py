"""Comparing with the exchange in both directions, and repairing what two readings agree on."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.reconciling.differences import Kind, differences
from services.exec_risk.core.reconciling.reconcile import ASKED, START, VERIFY, VERIFY_AGAIN
from services.trade.order import OrderPurpose, OrderState, Side
from services.trade.position import ExitReason
from tests.unit.exec_risk.account_desk import PRICE, SYMBOLS, Desk, fill_of, report

D = Decimal
BTC = SYMBOLS[0]


def reading(desk: Desk) -> ex.ExchangeSnapshot:
    """What an exchange says that agrees with the book."""
    book = desk.book
    assert book.wallet is not None
    held = tuple(
        ex.ExchangePosition(p.symbol, p.quantity * p.side.sign, PRICE, PRICE, D(0))
        for p in book.positions.values()
    )
    account = ex.AccountReport(book.wallet, book.wallet, desk.time, held)
    resting = tuple(report(o) for o in book.live_orders())
    return ex.ExchangeSnapshot(account, resting, leverage=dict(book.leverage))


def tell(desk: Desk, snapshot: ex.ExchangeSnapshot, cause: str) -> list[fx.Effect]:
    return desk.tell(inputs.SnapshotRead(snapshot, cause))


def verified(desk: Desk, snapshot: ex.ExchangeSnapshot) -> list[fx.Effect]:
    """Two readings in a row that say the same."""
    first = tell(desk, snapshot, VERIFY)
    assert first == [fx.Reconcile(VERIFY_AGAIN)], "one reading repairs nothing"
    return tell(desk, snapshot, VERIFY_AGAIN)


def kinds(effects: list[fx.Effect]) -> set[str]:
    return {e.kind for e in effects if isinstance(e, fx.ReconcileRepaired)}


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    made.open()
    return made


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([Side.BUY, Side.SELL]), min_size=0, max_size=3))
def test_polls_only_verify(sides: list[Side]) -> None:
    """Where both sides agree a reading has no effect at all, whatever is open."""
    desk = Desk()
    for number, side in enumerate(sides):
        desk.time += 60_000
        desk.open(SYMBOLS[number], side)
    desk.tell(inputs.Tick())
    before = repr(desk.book)
    assert differences(desk.book, reading(desk)) == ()
    assert tell(desk, reading(desk), VERIFY) == []
    desk.book.read_time = 0  # only from where fills are read the next time
    assert repr(desk.book) == before


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_single_difference_is_found_and_repaired(data: st.DataObject) -> None:
    """Whatever differs, after two readings and the exchange's answers both sides agree."""
    desk = Desk()
    desk.open()
    desk.time += 60_000
    desk.open(SYMBOLS[1], Side.SELL)
    snapshot = reading(desk)
    positions = {p.symbol: p for p in snapshot.account.positions}
    change = data.draw(
        st.dictionaries(
            st.sampled_from(SYMBOLS), st.sampled_from([D(-2), D("-0.5"), D(0), D("0.5"), D(2)])
        )
    )
    for symbol, quantity in change.items():
        base = positions.get(symbol) or ex.ExchangePosition(symbol, D(0), PRICE, PRICE, D(0))
        positions[symbol] = replace(base, quantity=quantity)
    account = replace(snapshot.account, positions=tuple(positions.values()))
    snapshot = replace(snapshot, account=account)
    found = differences(desk.book, snapshot)
    if not found:
        return
    verified(desk, snapshot)
    held = {p.symbol: p.quantity * p.side.sign for p in desk.book.positions.values()}
    assert held == {s: p.quantity for s, p in positions.items() if p.quantity}
    for symbol in held:
        stops = desk.book.orders_of(desk.book.positions[symbol].position_id, OrderPurpose.STOP_LOSS)
        assert any(o.remaining >= abs(held[symbol]) for o in stops), "adopted is protected"


def test_a_passing_difference_is_not_repaired(desk: Desk) -> None:
    """A fill on its way is in one reading and then here: nothing is booked twice."""
    snapshot = reading(desk)
    gone = replace(snapshot, account=replace(snapshot.account, positions=()))
    assert tell(desk, gone, VERIFY) == [fx.Reconcile(VERIFY_AGAIN)]
    assert tell(desk, snapshot, VERIFY_AGAIN) == []
    assert tell(desk, gone, VERIFY) == [fx.Reconcile(VERIFY_AGAIN)]


@pytest.mark.parametrize("between", ["user stream came up", VERIFY_AGAIN])
def test_a_doubt_is_confirmed_by_the_next_reading_or_by_none(desk: Desk, between: str) -> None:
    """Two fills on their way at two times are not one difference that lasts."""
    snapshot = reading(desk)
    gone = replace(snapshot, account=replace(snapshot.account, positions=()))
    assert tell(desk, gone, VERIFY) == [fx.Reconcile(VERIFY_AGAIN)]
    tell(desk, snapshot, between)
    assert tell(desk, gone, VERIFY) == [fx.Reconcile(VERIFY_AGAIN)]
    assert desk.book.positions


def test_a_position_closed_by_hand_is_manual(desk: Desk) -> None:
    """Incident 82: a close at the exchange ends the position here, by its own fill."""
    position = desk.book.positions[BTC]
    entry = desk.placed(OrderPurpose.ENTRY)[0]
    hand = replace(entry, client_order_id="web_1", side=Side.SELL, quantity=position.quantity)
    fill = fill_of(hand, position.quantity, PRICE, "900", desk.time, D(0))
    snapshot = reading(desk)
    wallet = snapshot.account.wallet_balance - fill.commission
    account = ex.AccountReport(wallet, wallet, desk.time, ())
    effects = verified(desk, replace(snapshot, account=account, fills=(fill,)))
    assert kinds(effects) == {"missed_fill"}
    closed = [e.position for e in effects if isinstance(e, fx.PositionClosed)]
    assert [p.exit_reason for p in closed] == [ExitReason.MANUAL]
    cancelled = {e.order.purpose for e in effects if isinstance(e, fx.Cancel)}
    assert cancelled == {OrderPurpose.STOP_LOSS, OrderPurpose.TAKE_PROFIT}


@pytest.mark.parametrize(("client_id", "cancels"), [("qts7-lost", True), ("web_77", False)])
@pytest.mark.parametrize("cancel_foreign", [False, True])
def test_what_rests_and_is_nobodys(client_id: str, cancels: bool, cancel_foreign: bool) -> None:
    """Ours by its id and unknown: cancelled; foreign: told once, cancelled where it is set."""
    desk = Desk(Policy(cancel_foreign_orders=cancel_foreign))
    desk.open()
    stop = desk.placed(OrderPurpose.STOP_LOSS)[0]
    stray = replace(report(stop), client_order_id=client_id, conditional=True)
    snapshot = reading(desk)
    snapshot = replace(snapshot, open_orders=(*snapshot.open_orders, stray))
    desk.effects.clear()
    for cause in (VERIFY, VERIFY_AGAIN, VERIFY, VERIFY_AGAIN):
        tell(desk, snapshot, cause)
    asked = [e for e in desk.effects if isinstance(e, fx.Cancel)]
    alerts = [e for e in desk.effects if isinstance(e, fx.Alert)]
    assert [e.order.client_order_id for e in asked] == (
        [client_id] if cancels or cancel_foreign else []
    )
    assert [a.alert_type for a in alerts] == ([] if asked else ["UNKNOWN_ORDER"])


def test_an_order_that_vanished_is_asked_for(desk: Desk) -> None:
    """Incident 15: not among the open orders is unknown, not cancelled."""
    stop = desk.placed(OrderPurpose.STOP_LOSS)[0]
    snapshot = reading(desk)
    rest = tuple(o for o in snapshot.open_orders if o.client_order_id != stop.client_order_id)
    effects = verified(desk, replace(snapshot, open_orders=rest))
    asked = [e.order.client_order_id for e in effects if isinstance(e, fx.Resolve)]
    assert asked == [stop.client_order_id]
    desk.tell(inputs.OrderFound(stop.client_order_id, None))
    assert desk.book.orders[stop.client_order_id].state is OrderState.CANCELED
    again = desk.placed(OrderPurpose.STOP_LOSS)
    assert len(again) == 2 and again[1].quantity == stop.quantity


def test_leverage_margin_and_mode_are_told_once(desk: Desk) -> None:
    """They cannot be repaired under an open position: a person is told."""
    snapshot = replace(
        reading(desk), leverage={BTC: 20}, margin_types={BTC: "ISOLATED"}, hedge_mode=True
    )
    desk.effects.clear()
    for cause in (VERIFY, VERIFY_AGAIN, VERIFY):
        tell(desk, snapshot, cause)
    alerts = [e.alert_type for e in desk.effects if isinstance(e, fx.Alert)]
    assert alerts == ["LEVERAGE_DIFFERS", "MARGIN_TYPE_DIFFERS", "POSITION_MODE_DIFFERS"]


@pytest.mark.parametrize("adopt", [True, False])
def test_an_unknown_position_at_the_start(adopt: bool) -> None:
    """Adopted and protected, or closed, by the setting; told either way."""
    desk = Desk(Policy(adopt_positions=adopt))
    account = ex.AccountReport(
        D(10_000), D(10_000), desk.time, (ex.ExchangePosition(BTC, D(2), PRICE, PRICE, D(0)),)
    )
    snapshot = ex.ExchangeSnapshot(account, (), leverage=dict(desk.book.leverage))
    tell(desk, snapshot, START)
    tell(desk, snapshot, "position differs")
    placed = {o.purpose for o in desk.placed()}
    wanted = {OrderPurpose.STOP_LOSS, OrderPurpose.TAKE_PROFIT} if adopt else {OrderPurpose.EXIT}
    assert placed == wanted
    assert "UNKNOWN_POSITION" in {e.alert_type for e in desk.effects if isinstance(e, fx.Alert)}


@pytest.mark.parametrize("apply", [False, True])
def test_an_operator_is_shown_what_differs(desk: Desk, apply: bool) -> None:
    """Shown without a change, or repaired with the same list."""
    stray = replace(report(desk.placed(OrderPurpose.STOP_LOSS)[0]), client_order_id="qts9-x")
    snapshot = reading(desk)
    snapshot = replace(snapshot, open_orders=(*snapshot.open_orders, stray))
    assert desk.tell(inputs.ReconcileNow("r1", apply)) == [fx.Reconcile(ASKED)]
    effects = tell(desk, snapshot, ASKED)
    answer = next(e for e in effects if isinstance(e, fx.Answer))
    (row,) = json.loads(answer.result["differences"])
    assert (row["kind"], row["ours"]) == (Kind.UNKNOWN_ORDER, "none")
    assert answer.result["applied"] == str(apply).lower()
    assert bool([e for e in effects if isinstance(e, fx.Cancel)]) is apply
