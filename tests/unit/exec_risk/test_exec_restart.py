"""What a new term does with what it finds: ask, withdraw, protect, and keep counting."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

import pytest

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.reconciling.reconcile import START
from services.trade.order import OrderPurpose, OrderState, Side
from services.trade.position import TradingState
from tests.unit.exec_risk.account_desk import MINUTE, Desk, fill_of, report, signal_of
from tests.unit.exec_risk.account_desk import START as NOW
from tests.unit.exec_risk.test_exec_shell import World

D = Decimal
NOTHING = D(0)
ENTRY, STOP = OrderPurpose.ENTRY, OrderPurpose.STOP_LOSS


def reading(
    *, held: Decimal = NOTHING, orders: tuple[ex.OrderReport, ...] = (), cause: str = START
) -> inputs.SnapshotRead:
    """A reading of the exchange: what is held of BTCUSDT, and what rests."""
    position = ex.ExchangePosition("BTCUSDT", held, D(100), D(100), D(0))
    account = ex.AccountReport(D(10_000), D(10_000), NOW, (position,) if held else ())
    return inputs.SnapshotRead(ex.ExchangeSnapshot(account, orders), cause)


def asked(desk: Desk) -> set[str]:
    """Client ids of the orders that are asked for."""
    return {e.order.client_order_id for e in desk.effects if isinstance(e, fx.Resolve)}


@pytest.mark.parametrize("state", [OrderState.SUBMITTED, OrderState.UNKNOWN])
def test_a_new_term_asks_for_what_may_have_been_sent(state: OrderState) -> None:
    """Incident 26: an order found without an answer is asked for by its id, never sent again."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(ENTRY)[0]
    desk.book.orders[entry.client_order_id] = replace(entry, state=state)
    desk.effects.clear()
    desk.tell(reading())
    assert asked(desk) == {entry.client_order_id}
    assert desk.book.orders[entry.client_order_id].state is OrderState.UNKNOWN
    assert not desk.placed()


def test_a_later_reading_leaves_orders_alone_whose_answer_is_on_its_way() -> None:
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    desk.effects.clear()
    desk.tell(reading(cause="user stream came up"))
    assert not asked(desk)


@pytest.mark.parametrize("late", [0, 6 * MINUTE])
def test_a_new_term_goes_on_with_what_was_never_sent(late: int) -> None:
    """INTENT is stored and never sent: it goes on where it stood, while its signal lasts."""
    desk = Desk()
    desk.book.leverage.clear()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    (intent,) = desk.book.live_orders()
    desk.time += late
    desk.effects.clear()
    desk.tell(reading())
    assert not asked(desk) and not desk.placed()
    leverage = desk.book.policy.leverage
    desk.tell(inputs.LeverageAnswered("BTCUSDT", leverage))
    sent = [o.client_order_id for o in desk.placed()]
    assert sent == ([] if late else [intent.client_order_id])
    ended = OrderState.CANCELED if late else OrderState.SUBMITTED
    assert desk.book.orders[intent.client_order_id].state is ended


def test_what_never_arrived_is_sent_again_under_its_id() -> None:
    """What fills may depend on the id: a death between commit and sending changes nothing."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    (entry,) = desk.placed(ENTRY)
    desk.effects.clear()
    desk.tell(reading())
    assert not desk.placed(), "only when it is proven"
    desk.tell(inputs.OrderFound(entry.client_order_id, None))
    assert [o.client_order_id for o in desk.placed()] == [entry.client_order_id]
    desk.tell(inputs.OrderFound(entry.client_order_id, None))
    assert len(desk.placed()) == 1, "an answer to an older question proves nothing"


def test_what_never_arrived_is_not_sent_when_entries_are_stopped() -> None:
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    (entry,) = desk.placed(ENTRY)
    desk.tell(reading())
    desk.tell(inputs.SetTradingState("r", TradingState.REDUCING, "a test"))
    desk.effects.clear()
    desk.tell(inputs.OrderFound(entry.client_order_id, None))
    assert not desk.placed()
    assert desk.book.orders[entry.client_order_id].state is OrderState.REJECTED


def test_a_stop_that_may_not_have_arrived_is_sent_again_at_once() -> None:
    """A stop cannot wait for proof; the exchange refuses its id when it rests already."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(ENTRY)[0]
    desk.accept(entry)
    desk.fill(entry)
    (stop,) = desk.placed(STOP)
    desk.effects.clear()
    desk.tell(reading(held=entry.quantity))
    assert [o.client_order_id for o in desk.placed(STOP)] == [stop.client_order_id]


def test_a_stop_that_is_gone_is_placed_again_at_once() -> None:
    """Incident 12: a stop that rests no more is asked for, and replaced in that answer's step."""
    desk = Desk()
    entry = desk.open()
    (old,), takes = desk.placed(STOP), desk.placed(OrderPurpose.TAKE_PROFIT)
    desk.effects.clear()
    desk.tell(reading(held=entry.quantity, orders=tuple(map(report, takes))))
    assert asked(desk) == {old.client_order_id}
    desk.tell(inputs.OrderFound(old.client_order_id, report(old, OrderState.CANCELED)))
    (stop,) = desk.placed(STOP)
    assert stop.quantity == entry.quantity
    assert stop.client_order_id != old.client_order_id


async def test_orders_of_a_dead_replica_all_reach_an_end() -> None:
    """Incidents 10 and 26: nothing stays SUBMITTED or UNKNOWN after crashes at any await."""
    world = World(seed=77, faults=0.3)
    world.start()
    for number in range(100):
        # a crash misses when the point is answered before it strikes
        if number >= 16 and world.crashes > 3:
            break
        crash = world.dice.random() < 0.6
        await world.point(close=number % 2 == 0, crash=crash)
    world.exchange.faults = world.faults = 0.0
    for _ in range(3):
        await world.point(close=False, crash=False)
    open_ended = [
        o
        for o in world.truth.orders.values()
        if o.state in (OrderState.INTENT, OrderState.SUBMITTED, OrderState.UNKNOWN)
    ]
    await world.kill()
    assert world.crashes > 3
    assert open_ended == []


def test_the_result_of_an_order_carries_its_whole_commission() -> None:
    """Incident 90: fees are told with the result, over all fills, each once."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    (entry,) = desk.placed(ENTRY)
    half = entry.quantity / 2
    fills = [fill_of(entry, half, D(100 + i), f"t{i}", desk.time, D(0)) for i in range(2)]
    random.Random(3).shuffle(fills)  # noqa: S311 - a test's order
    for fill in [*fills, *fills]:
        desk.tell(ex.FillReport(fill))
    (result,) = desk.of(fx.ExecutionResult)
    assert isinstance(result, fx.ExecutionResult)
    assert result.commission == sum(f.commission for f in fills) > 0


def test_the_wallet_is_kept_with_the_fill_that_changed_it() -> None:
    """Incident 85: a restart right after a fill repairs nothing."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    fill = desk.fill(desk.placed(ENTRY)[0])
    stored = [e for e in desk.effects if isinstance(e, fx.AccountSnapshot)][-1]
    assert stored.wallet_balance == D(10_000) - fill.commission
