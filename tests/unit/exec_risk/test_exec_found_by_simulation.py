"""Defects that seeds of the simulation found, each where it was."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.reconciling.differences import differences
from services.trade import ids
from services.trade.execution import ExecutionStrategy
from services.trade.order import Fill, Order, OrderPurpose, OrderState, Side
from services.trade.position import ExitReason
from tests.unit.exec_risk.account_desk import MINUTE, SYMBOLS, Desk, fill_of, report, signal_of

D = Decimal


def by_hand(desk: Desk, side: Side, quantity: Decimal, trade: str, commission: str = "0.1") -> Fill:
    """A fill that a person made at the exchange."""
    return Fill(
        trade, "main", "BTCUSDT", f"web_{trade}", side, D(100), quantity, D(commission), D(0),
        False, desk.time,
    )  # fmt: skip


def reading(
    desk: Desk, held: Decimal, wallet: Decimal, fills: tuple[Fill, ...] = (), time: int = 0
) -> inputs.SnapshotRead:
    """A reading of the exchange in which the protection of BTCUSDT rests."""
    positions = (ex.ExchangePosition("BTCUSDT", held, D(100), D(100), D(0)),) if held else ()
    account = ex.AccountReport(wallet, wallet, time or desk.time, positions)
    resting = tuple(report(o) for o in desk.book.live_orders())
    return inputs.SnapshotRead(ex.ExchangeSnapshot(account, resting, fills), "user stream came up")


def test_an_exit_covers_what_its_entry_fills_on() -> None:
    """Incident 10: an exit is sized for what is held, and what enters later is left, too."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    part = entry.quantity - D("0.010")
    desk.fill(entry, part)
    desk.accept_all()
    desk.tell(inputs.ClosePosition("ask", "BTCUSDT"))
    assert entry.client_order_id in {
        e.order.client_order_id for e in desk.effects if isinstance(e, fx.Cancel)
    }
    desk.accept(desk.placed(OrderPurpose.EXIT)[-1])
    desk.fill(entry, D("0.010"))
    exits = desk.placed(OrderPurpose.EXIT)
    assert [o.quantity for o in exits] == [part, D("0.010")]
    desk.fill(exits[0])
    desk.fill(exits[1])
    assert not desk.book.positions


def test_fills_of_one_millisecond_that_were_missed_apply_entries_first() -> None:
    """Incident 82: an exit that is read before its entry must not close half and reopen."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    half = entry.quantity - D("0.010")
    desk.fill(entry, half)
    desk.accept_all()
    stop = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    again = fill_of(entry, D("0.010"), D(100), "10", desk.time, D(0))
    out = fill_of(stop, stop.quantity, D(99), "9", desk.time, D(0))
    wallet = desk.book.wallet or D(0)
    desk.tell(reading(desk, D("0.010"), wallet, (out, again)))
    assert desk.book.positions["BTCUSDT"].quantity == D("0.010")
    assert not desk.of(fx.PositionClosed)


def test_what_fills_after_the_close_never_begins_an_old_version_anew() -> None:
    """Incident 12: a position under a known id with a lower version is one that no store takes."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    part = entry.quantity - D("0.010")
    desk.fill(entry, part)
    desk.accept_all()
    desk.fill(desk.placed(OrderPurpose.STOP_LOSS)[-1])
    closed = desk.of(fx.PositionClosed)[-1]
    assert isinstance(closed, fx.PositionClosed)
    desk.fill(entry, D("0.010"))
    position = desk.book.positions["BTCUSDT"]
    again = position.position_id == closed.position.position_id
    assert not again or position.version > closed.position.version
    assert position.quantity == D("0.010") and position.open


def test_a_fill_that_turns_a_position_round_is_two_fills() -> None:
    """Incident 85: both positions add up from their own fills, commission to the digit."""
    desk = Desk()
    entry = desk.open()
    turn = by_hand(desk, Side.SELL, entry.quantity * 3, "77", commission="0.10000001")
    desk.tell(ex.FillReport(turn))
    desk.tell(ex.FillReport(turn))
    parts = [e for e in desk.effects if isinstance(e, fx.FillRecorded) and "77" in e.fill.trade_id]
    assert [p.fill.trade_id for p in parts] == ["77", "77.rest"]
    assert [p.purpose for p in parts] == [OrderPurpose.EXIT, OrderPurpose.ENTRY]
    assert sum((p.fill.quantity for p in parts), D(0)) == turn.quantity
    assert sum((p.fill.commission for p in parts), D(0)) == turn.commission
    closed = desk.of(fx.PositionClosed)[-1]
    assert isinstance(closed, fx.PositionClosed)
    assert parts[0].position_id == closed.position.position_id != parts[1].position_id
    assert closed.position.exit_reason is ExitReason.MANUAL
    assert desk.book.positions["BTCUSDT"].quantity == entry.quantity * 2


def test_an_entry_that_closes_what_a_person_opened_is_booked_as_its_exit() -> None:
    """Incident 81: what a fill does counts, not what its order was for."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.SELL, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    desk.tell(ex.FillReport(by_hand(desk, Side.BUY, entry.quantity, "5")))
    desk.fill(entry)
    booked = [e for e in desk.effects if isinstance(e, fx.FillRecorded)]
    assert [b.purpose for b in booked] == [OrderPurpose.ENTRY, OrderPurpose.EXIT]
    assert booked[0].position_id == booked[1].position_id


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


def test_a_reading_older_than_a_fill_does_not_overwrite_the_wallet() -> None:
    """Incident 86: the requests of one reading are answered at different moments."""
    desk = Desk()
    before = desk.book.wallet or D(0)
    entry = desk.open()
    after = desk.book.wallet
    for _ in range(2):
        desk.tell(reading(desk, entry.quantity, before))
        assert desk.book.wallet == after, "both may be from before the fill, however often"
    desk.time += MINUTE
    desk.tell(reading(desk, entry.quantity, D(5)))
    assert any(isinstance(e, fx.Reconcile) and "wallet" in e.cause for e in desk.effects)
    desk.tell(reading(desk, entry.quantity, after or D(0)))
    desk.tell(reading(desk, entry.quantity, D(5)))
    assert desk.book.wallet == after
    desk.tell(reading(desk, entry.quantity, D(5)))
    assert desk.book.wallet == D(5), "two later readings that agree are the truth"


def test_a_fill_that_is_newer_than_the_first_reading_of_an_account_applies() -> None:
    """Incident 82: only what the first reading of the account knows is history."""
    desk = Desk()
    desk.book.wallet = None
    old = by_hand(desk, Side.BUY, D(1), "1")
    new = replace(by_hand(desk, Side.BUY, D(2), "2"), time=desk.time + MINUTE)
    desk.tell(reading(desk, D(0), D(10_000), (old, new)))
    assert desk.book.positions["BTCUSDT"].quantity == D(2)
    assert desk.book.wallet == D(10_000) - new.commission


def test_no_entry_while_a_position_differs_from_the_exchanges() -> None:
    desk = Desk(Policy(cooldown_ms=0))
    desk.tell(reading(desk, D(3), desk.book.wallet or D(0)))
    assert "BTCUSDT" in desk.book.drift
    desk.round(*(signal_of(s, Side.BUY, desk.time) for s in SYMBOLS))
    entered = {o.symbol for o in desk.placed(OrderPurpose.ENTRY)}
    assert entered == set(SYMBOLS) - {"BTCUSDT"}
    assert all(o.state is not OrderState.FILLED for o in desk.placed())


def resting_of(order: Order) -> ex.OrderReport:
    """What the exchange tells of an order that rests."""
    conditional = order.trigger_price is not None
    return replace(
        report(order),
        conditional=conditional,
        reduce_only=order.reduce_only,
        trigger_price=order.trigger_price,
    )


@pytest.mark.parametrize("purpose", [OrderPurpose.EXIT, OrderPurpose.STOP_LOSS])
def test_what_was_sent_without_a_store_and_forgotten_is_taken_over(purpose: OrderPurpose) -> None:
    """Incident 7: its id is not used again, and it is not cancelled: it protects or closes."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    before = desk.restart()
    desk.fill(entry)
    if purpose is OrderPurpose.EXIT:
        desk.accept_all()
        before = desk.restart()
        desk.tell(inputs.ClosePosition("ask", "BTCUSDT"))
    else:
        fill = next(e.fill for e in desk.effects if isinstance(e, fx.FillRecorded))
    sent = desk.placed(purpose)[-1]
    resting = (*map(resting_of, before.book.live_orders()), resting_of(sent))
    held = (ex.ExchangePosition("BTCUSDT", entry.quantity, D(100), D(100), D(0)),)
    account = ex.AccountReport(D(10_000), D(10_000), desk.time, held)
    fills = () if purpose is OrderPurpose.EXIT else (fill,)
    before.effects.clear()
    reading_ = ex.ExchangeSnapshot(account, resting, fills)
    before.tell(inputs.SnapshotRead(reading_, "start"))
    before.accept_all()
    before.tell(inputs.SnapshotRead(reading_, "start"))
    if purpose is OrderPurpose.EXIT:
        found = before.book.orders[sent.client_order_id]
        assert (found.purpose, found.position_id) == (purpose, sent.position_id)
        before.tell(inputs.ClosePosition("ask", "BTCUSDT"))
        assert not before.placed(OrderPurpose.EXIT), "one exit for all that is held"
        assert not before.of(fx.Cancel)
    stored: dict[str, Order] = {}
    for changed in before.of(fx.OrderChanged):
        assert isinstance(changed, fx.OrderChanged)
        known = stored.get(changed.order.client_order_id)
        assert known is None or changed.previous is not None, "an id is used once"
        stored[changed.order.client_order_id] = changed.order
    assert all(p.position_id for p in before.book.live_orders())


def forgotten(desk: Desk) -> tuple[Desk, Order, list[Order], tuple[Fill, ...]]:
    """An entry fills in two parts without a store; return who forgot it, entry, stops and fills."""
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    before = desk.restart()
    before.effects.clear()
    desk.fill(entry, D("0.010"))
    desk.accept_all()
    desk.fill(entry, entry.quantity - D("0.010"))
    fills = tuple(e.fill for e in desk.effects if isinstance(e, fx.FillRecorded))
    return before, entry, desk.placed(OrderPurpose.STOP_LOSS), fills


def test_an_id_that_was_sent_without_a_store_and_has_ended_is_not_used_again() -> None:
    """Incident 7: the last stop rests, and so the ones before it have used up their ids."""
    before, entry, (first, last), fills = forgotten(Desk())
    held = (ex.ExchangePosition("BTCUSDT", entry.quantity, D(100), D(100), D(0)),)
    account = ex.AccountReport(D(10_000), D(10_000), before.time, held)
    reading_ = ex.ExchangeSnapshot(account, (resting_of(last),), fills)
    before.tell(inputs.SnapshotRead(reading_, "start"))
    assert before.book.positions["BTCUSDT"].quantity == entry.quantity
    assert before.book.orders[last.client_order_id].purpose is OrderPurpose.STOP_LOSS
    assert first.client_order_id not in {o.client_order_id for o in before.placed()}


def test_what_the_history_has_closed_already_is_not_protected_any_more() -> None:
    """Incident 7: a dead replica may have used up the ids of what it sent for it."""
    before, entry, _, fills = forgotten(Desk())
    left = replace(by_hand(before, Side.SELL, entry.quantity, "9"), time=before.time + 1)
    account = ex.AccountReport(D(10_000), D(10_000), before.time + 1, ())
    reading_ = ex.ExchangeSnapshot(account, (), (*fills, left))
    before.tell(inputs.SnapshotRead(reading_, "start"))
    assert not before.book.positions
    assert not before.placed()
    assert not [o for o in before.book.live_orders() if o.reduce_only]


def test_two_readings_from_before_a_fill_prove_nothing_after_it() -> None:
    """Incident 85: what was opened and closed between two readings was booked as a difference."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    doubt = replace(reading(desk, entry.quantity, D(10_000)), cause="verify")
    desk.tell(doubt)
    desk.fill(entry)
    desk.accept_all()
    desk.fill(desk.placed(OrderPurpose.STOP_LOSS)[-1])
    assert not desk.book.positions
    desk.tell(replace(doubt, cause="verify again"))
    assert not desk.book.positions
    repairs = [e.kind for e in desk.effects if isinstance(e, fx.ReconcileRepaired)]
    assert "position_drift" not in repairs


def test_a_larger_stop_stays_while_its_entry_may_have_filled_on() -> None:
    """Incident 10: what fills on is held before it is heard of."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    desk.fill(entry, entry.quantity - D("0.010"))
    desk.accept_all()
    large = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    desk.tell(ex.FillReport(by_hand(desk, Side.SELL, D("0.020"), "9")))
    desk.accept_all()
    small = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    desk.tell(inputs.Tick())
    assert small.quantity < large.quantity
    assert large.client_order_id not in desk.book.cancelling
    desk.fill(entry, D("0.010"))
    desk.accept_all()
    desk.tell(inputs.Tick())
    assert large.client_order_id in desk.book.cancelling


def test_a_larger_stop_stays_while_parts_of_its_entry_follow() -> None:
    """Incident 10: the next part of an iceberg is sent and filled while a cancel is on its way."""
    policy = ExecutionPolicy(entry_strategy=ExecutionStrategy.ICEBERG, slices=5)
    desk = Desk(Policy(execution=policy))
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    for _ in range(3):
        desk.accept_all()
        part = desk.placed(OrderPurpose.ENTRY)[-1]
        desk.fill(part)
    small, large = desk.placed(OrderPurpose.STOP_LOSS)[-2:]
    assert (small.quantity, large.quantity) == (2 * part.quantity, 3 * part.quantity)
    desk.tell(ex.FillReport(by_hand(desk, Side.SELL, 2 * part.quantity, "9")))
    desk.accept_all()
    assert large.client_order_id not in desk.book.cancelling
    part = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.tell(inputs.CancelOrder("ask", part.client_order_id))
    desk.tell(report(part, OrderState.CANCELED))
    desk.tell(inputs.Tick())
    assert not desk.book.executing.busy
    assert large.client_order_id in desk.book.cancelling


def test_a_stop_whose_cancel_may_still_arrive_stands_in_for_nothing() -> None:
    """Incident 10: a lost cancel came late, after the stops that it stood in for were cancelled."""
    desk = Desk()
    desk.open()
    first = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    half = first.quantity / 2
    desk.tell(ex.FillReport(by_hand(desk, Side.SELL, half, "9")))
    desk.accept_all()
    second = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    assert desk.book.cancelling >= {first.client_order_id}
    lost = ex.Unknown("no answer")
    desk.tell(inputs.CancelAnswered(first.client_order_id, lost))
    desk.tell(ex.FillReport(by_hand(desk, Side.BUY, half, "10")))
    desk.tell(inputs.OrderFound(first.client_order_id, report(first)))
    third = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    assert third.quantity == first.quantity
    assert second.client_order_id not in desk.book.cancelling
    desk.accept(third)
    assert third.client_order_id not in desk.book.cancelling
    assert desk.book.cancelling >= {first.client_order_id, second.client_order_id}


def test_the_plan_of_an_entry_that_waits_over_midnight_is_kept() -> None:
    """Incident 26: what is forgotten with a day is nobody's; the core failed at its leverage."""
    desk = Desk()
    desk.book.leverage.clear()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    execution = desk.book.executing.working[0]
    del desk.book.orders[execution.child]
    desk.book.day(desk.time + 24 * 60 * MINUTE)
    assert execution.position_id in desk.book.plans


def test_a_difference_is_booked_only_when_two_readings_show_it() -> None:
    """A reading may be older than a fill, so one alone proves nothing."""
    desk = Desk()
    desk.open()
    held = desk.book.positions["BTCUSDT"].quantity
    account = ex.AccountReport(desk.book.wallet or D(0), D(0), desk.time, ())
    flat = ex.ExchangeSnapshot(account, (), ())
    desk.tell(inputs.SnapshotRead(flat, "test"))
    assert desk.book.positions["BTCUSDT"].quantity == held
    desk.tell(inputs.SnapshotRead(flat, "test"))
    assert "BTCUSDT" not in desk.book.positions


def test_what_the_first_reading_holds_is_not_applied_again() -> None:
    """Incident 85: the commission of a fill from before was taken off the wallet twice."""
    desk = Desk()
    desk.book.wallet = None
    desk.tell(reading(desk, D(0), D(9_999)))
    before = by_hand(desk, Side.BUY, D(1), "1")
    desk.tell(ex.FillReport(before))
    again = reading(desk, D(0), D(9_999), (before,))
    desk.tell(again)
    assert desk.book.equity() == D(9_999) and not desk.book.positions
    assert not differences(desk.book, again.snapshot)
    desk.tell(ex.FillReport(replace(before, trade_id="2", time=desk.time + 1)))
    assert (desk.book.equity() or D(0)) < D(9_999)


def test_an_entry_that_fills_at_the_time_of_the_first_reading_is_news() -> None:
    """Incident 22: a close and the open after it are one market time."""
    desk = Desk()
    desk.book.wallet = None
    desk.tell(reading(desk, D(0), D(10_000)))
    entry = desk.open()
    assert desk.book.positions["BTCUSDT"].quantity == entry.quantity


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_stop_whose_trigger_nobody_knows_is_never_the_one_that_stays(side: Side) -> None:
    """Incident 21: it would be preferred and yet not fit, and stops be replaced without an end."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", side, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    desk.fill(entry)
    desk.accept_all()
    (stop,) = desk.placed(OrderPurpose.STOP_LOSS)
    lost = ids.client_order_id("main", stop.position_id, "stop", 7)
    found = replace(
        report(stop), client_order_id=lost, conditional=True, reduce_only=True, trigger_price=None
    )
    held = entry.quantity * side.sign
    read = reading(desk, held, D(10_000))
    resting = (*read.snapshot.open_orders, found)
    desk.tell(replace(read, snapshot=replace(read.snapshot, open_orders=resting)))
    gone = {e.order.client_order_id for e in desk.effects if isinstance(e, fx.Cancel)}
    assert gone == {lost}
    for _ in range(3):
        desk.tell(inputs.Tick())
    assert desk.placed(OrderPurpose.STOP_LOSS) == [stop]
