"""The sender by the clock: what a request is signed with, and when a missing order is proof."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core.inputs import Input, OrderFound, PlaceAnswered, SnapshotRead
from services.exec_risk.core.reconciling.reconcile import ASKED, VERIFY, VERIFY_AGAIN, covering
from services.exec_risk.term.sender import Sender, SenderLimits
from services.trade.order import Order, OrderPurpose, Side
from tests.unit.exec_risk.account_desk import Desk, signal_of
from tests.unit.exec_risk.simulated_world import SimulatedExchange

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)


class HandClock:
    """Moves only when somebody sleeps or moves it."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        """Return the wall time."""
        return BEGIN + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.seconds += seconds
        await asyncio.sleep(0)


class PatientExchange(SimulatedExchange):
    """Answers a place when it may, and knows no order."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(random.Random(1), faults=0)  # noqa: S311 - a test
        self.clock = clock
        self.may_answer = asyncio.Event()
        self.signed: dict[str, int] = {}
        self.asked_at: list[float] = []

    async def place(self, order: Order, *, signed_at: int) -> ex.RequestOutcome:
        """Note with what it is signed; answer later."""
        self.signed[order.client_order_id] = signed_at
        await self.may_answer.wait()
        return ex.Unknown("no answer")

    async def find(self, order: Order) -> ex.OrderReport | None:
        """Say that nothing is known of it."""
        self.asked_at.append(self.clock.seconds)
        return None


def sender_of(
    exchange: PatientExchange, clock: HandClock, heard: list[Input], timeout: float = 5.0
) -> Sender:
    """One request at a time."""
    limits = SenderLimits(concurrent=1, timeout_seconds=timeout)
    return Sender(exchange, clock, limits, report=heard.append, since=lambda: 0)


def orders_of(*symbols: str) -> list[Order]:
    """Entry orders as the core asks for them."""
    desk = Desk()
    desk.round(*(signal_of(s, Side.BUY, desk.time) for s in symbols))
    return desk.placed(OrderPurpose.ENTRY)


async def until_idle(sender: Sender) -> None:
    while not sender.idle:
        await asyncio.sleep(0)


@pytest.mark.timeout(20)
async def test_a_request_that_waited_is_signed_with_the_time_of_its_write() -> None:
    """Who was frozen, or had to wait, sends with the old time, so that the exchange refuses it."""
    clock, heard = HandClock(), list[Input]()
    exchange = PatientExchange(clock)
    sender = sender_of(exchange, clock, heard)
    first, second = orders_of("BTCUSDT", "ETHUSDT")
    written = int(clock.now().timestamp() * 1000)
    sender.carry_out(fx.Place(first), written)
    sender.carry_out(fx.Place(second), written)
    await asyncio.sleep(0)
    clock.seconds += 3.0
    exchange.may_answer.set()
    await until_idle(sender)
    assert exchange.signed == dict.fromkeys(
        (first.client_order_id, second.client_order_id), written
    )
    assert [type(e) for e in heard] == [PlaceAnswered, PlaceAnswered]


@pytest.mark.timeout(20)
async def test_not_found_is_proof_only_after_the_window_has_passed() -> None:
    """Incident 26: a late request may still arrive; until then every answer of None is asked
    again."""
    clock, heard = HandClock(), list[Input]()
    exchange = PatientExchange(clock)
    exchange.may_answer.set()
    sender = sender_of(exchange, clock, heard)
    (order,) = orders_of("BTCUSDT")
    sent_at = clock.seconds
    sender.carry_out(fx.Place(order), 0)
    await until_idle(sender)
    sender.carry_out(fx.Resolve(order), 0)
    await until_idle(sender)
    assert heard[-1] == OrderFound(order.client_order_id, None)
    assert len(exchange.asked_at) > 2
    assert exchange.asked_at[-1] - sent_at > SenderLimits().proof_seconds


@pytest.mark.timeout(20)
async def test_what_an_earlier_leader_sent_is_proven_missing_from_when_the_term_began() -> None:
    """Incident 7: an exit that a dead leader never sent must not wait for its window once more."""
    clock, heard = HandClock(), list[Input]()
    exchange = PatientExchange(clock)
    sender = sender_of(exchange, clock, heard)
    (order,) = orders_of("BTCUSDT")
    clock.seconds += 1.5
    sender.carry_out(fx.Resolve(order), 0)
    await until_idle(sender)
    assert heard == [OrderFound(order.client_order_id, None)]
    assert 102.0 < exchange.asked_at[-1] < 102.5


@pytest.mark.timeout(20)
async def test_no_answer_in_time_is_an_unknown_outcome() -> None:
    """Incident 26: whoever gives up waiting knows nothing of what became of the request."""
    clock, heard = HandClock(), list[Input]()
    sender = sender_of(PatientExchange(clock), clock, heard, timeout=0.01)
    (order,) = orders_of("BTCUSDT")
    sender.carry_out(fx.Place(order), 0)
    await until_idle(sender)
    (answer,) = heard
    assert isinstance(answer, PlaceAnswered)
    assert isinstance(answer.outcome, ex.Unknown)
    assert sender.errors == 1


class SlowExchange(PatientExchange):
    """Reads when it may, and counts how often a reading began."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.began = 0
        self.fails = 0

    async def snapshot(self, since: int) -> ex.ExchangeSnapshot:
        """Say that nothing is there, once it may; fail first, so often as is asked for."""
        del since
        self.began += 1
        await self.may_answer.wait()
        if self.began <= self.fails:
            raise ConnectionError("no answer")
        return ex.ExchangeSnapshot(ex.AccountReport(Decimal(1), Decimal(1), 1, ()), (), ())


@pytest.mark.timeout(20)
@pytest.mark.parametrize("fails", [0, 2])
async def test_what_is_asked_during_a_reading_is_read_after_it(fails: int) -> None:
    """Incident 82: a look for an operator was under way when the stream came up again."""
    clock, heard = HandClock(), list[Input]()
    exchange = SlowExchange(clock)
    exchange.fails = fails
    sender = sender_of(exchange, clock, heard)
    sender.carry_out(fx.Reconcile(ASKED), 0)
    while not exchange.began:
        await asyncio.sleep(0)
    for _ in range(2):
        sender.carry_out(fx.Reconcile("user stream came up"), 0)
    sender.carry_out(fx.Reconcile(VERIFY), 0)
    exchange.may_answer.set()
    await until_idle(sender)
    causes = [e.cause for e in heard if isinstance(e, SnapshotRead)]
    # a reading that failed had not begun before what was asked meanwhile, so the next serves all
    assert causes == (["user stream came up"] if fails else [ASKED, "user stream came up"])
    assert exchange.began == fails + len(causes)


def test_one_reading_repairs_what_the_most_thorough_of_its_causes_asks_for() -> None:
    repairing = "an exit is overdue"
    assert covering([VERIFY, repairing, ASKED]) == repairing
    assert covering([ASKED, VERIFY]) == VERIFY
    assert covering([VERIFY_AGAIN, VERIFY]) == VERIFY_AGAIN
