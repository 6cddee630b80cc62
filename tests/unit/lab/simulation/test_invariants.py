"""Every invariant can fail: each is shown a world in which it does not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from services.exec_risk.core import effects as fx
from services.exec_risk.core.inputs import Signal
from services.exec_risk.core.policy import Policy
from services.lab.simulation import invariants as must
from services.lab.simulation.faults import KINDS, Faults
from services.lab.simulation.market import SimulatedMarket
from services.lab.simulation.plan import RunPlan
from services.lab.simulation.script import Script
from services.lab.simulation.store import Rows
from services.lab.simulation.venue import Venue
from services.lab.simulation.virtual_loop import Stopped
from services.lab.simulation.watch import ProtectionWatch
from services.lab.simulation.world import World
from services.trade.order import Order, OrderPurpose, OrderState, OrderType, Side
from services.trade.position import Position, PositionSide, TradingState

D = Decimal
ENTRY = Order(
    client_order_id="qte0-1", account="main", symbol="BTCUSDT", side=Side.BUY,
    type=OrderType.MARKET, purpose=OrderPurpose.ENTRY, quantity=D("0.010"), decided_time=100,
    state=OrderState.SUBMITTED, signal_id="sig-1", position_id="pos-1",
)  # fmt: skip
HELD = Position(
    "pos-9", "main", "BTCUSDT", PositionSide.LONG, 1, 5, entry_quantity=D("0.01"), entry_cost=D(900)
)


def venue() -> Venue:
    return Venue(SimulatedMarket(Faults(1, KINDS), 3, "15m"), 1, "main")


def done() -> World:
    """A world that ran to its end, with fills."""
    world = World(RunPlan(0, 3.0, off=frozenset(KINDS)))
    assert world.run().failure is None
    assert world.venue.fills
    return world


def allowed(change: Callable[[Rows, must.Overlay], None]) -> str | None:
    rows, overlay, script = Rows(), must.Overlay({}, {}), Script(1, ("BTCUSDT",))
    rows.account = fx.AccountSnapshot(
        1, D(1), D(0), D(1), D(0), D(0), 0, 0, TradingState.ACTIVE, 0, False
    )
    script.signals["sig-1"] = Signal(
        "sig-1", "paper", "BTCUSDT", "15m", Side.BUY, 0.9, D(1), D(0), 100, 100
    )
    change(rows, overlay)
    return must.entry_allowed(rows, overlay, script, ENTRY, ("BTCUSDT",))


def test_a_sound_entry_is_allowed() -> None:
    assert allowed(lambda *_: None) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda rows, _: setattr(rows, "trading_state", TradingState.HALTED),
        lambda rows, _: setattr(rows, "trading_state", TradingState.REDUCING),
        lambda rows, _: setattr(rows, "latch", fx.Latch("why", "who", 1)),
        lambda rows, _: setattr(rows, "account", None),
        lambda _, overlay: overlay.positions.update({"BTCUSDT": HELD}),
        lambda _, overlay: overlay.orders.update(
            {"x": replace(ENTRY, client_order_id="x", position_id="p", state=OrderState.UNKNOWN)}
        ),
    ],
    ids=["halted", "reducing", "latched", "no wallet", "occupied", "unknown order"],
)
def test_an_entry_that_must_not_be_is_seen(
    change: Callable[[Rows, must.Overlay], None],
) -> None:
    assert allowed(change)


def test_a_stale_signal_and_one_that_nobody_made_are_seen() -> None:
    late = replace(ENTRY, decided_time=101)
    for order in (late, replace(ENTRY, signal_id="sig-2")):
        script = Script(1, ("BTCUSDT",))
        script.signals["sig-1"] = replace_signal()
        problem = must.entry_allowed(Rows(), must.Overlay({}, {}), script, order, ("BTCUSDT",))
        assert problem is not None and ("expired" in problem or "no signal" in problem)


def replace_signal() -> Signal:
    return Signal("sig-1", "paper", "BTCUSDT", "15m", Side.BUY, 0.9, D(1), D(0), 100, 100)


@pytest.mark.parametrize(
    ("policy", "order"),
    [
        (Policy(max_position_usd=D(100)), ENTRY),
        (Policy(max_positions=0), ENTRY),
        (Policy(max_exposure_usd=D(500)), ENTRY),
        (Policy(), replace(ENTRY, quantity=D(0))),
    ],
    ids=["notional", "positions", "exposure", "quantity"],
)
def test_a_limit_that_is_passed_is_seen(policy: Policy, order: Order) -> None:
    marks = {"BTCUSDT": D(90_000)}
    assert must.within_limits(policy, Rows(), must.Overlay({}, {}), order, marks)
    assert must.within_limits(Policy(), Rows(), must.Overlay({}, {}), ENTRY, marks) is None


def test_limits_on_the_account_hold_when_it_is_decided_not_when_a_part_is_sent() -> None:
    """What a person opened meanwhile counts for the next decision only."""
    marks, policy = {"BTCUSDT": D(90_000)}, Policy(max_positions=0)
    begun = must.Overlay({"qte1-1": ENTRY}, {})
    later = replace(ENTRY, client_order_id="qte1-2")
    assert must.within_limits(policy, Rows(), begun, later, marks) is None
    assert must.within_limits(Policy(max_position_usd=D(100)), Rows(), begun, later, marks)
    other = replace(later, position_id="pos-2")
    assert must.within_limits(policy, Rows(), begun, other, marks)


def test_an_illegal_step_is_seen() -> None:
    overlay = must.Overlay({"qte0-1": ENTRY}, {})
    for state, previous in (
        (OrderState.INTENT, OrderState.SUBMITTED),
        (OrderState.ACCEPTED, OrderState.UNKNOWN),
    ):
        moved = replace(ENTRY, state=state, version=2)
        assert must.legal_step(overlay, fx.OrderChanged(moved, previous, "test"))
    sound = replace(ENTRY, state=OrderState.ACCEPTED, version=2)
    assert must.legal_step(overlay, fx.OrderChanged(sound, OrderState.SUBMITTED, "t")) is None


def test_what_was_not_committed_or_was_given_up_is_seen() -> None:
    rows = Rows()
    assert must.committed_before_sent(rows, ENTRY, without_store=False)
    assert must.committed_before_sent(rows, ENTRY, without_store=True)
    rows.orders["qte0-1"] = replace(ENTRY, state=OrderState.INTENT)
    assert must.committed_before_sent(rows, ENTRY, without_store=False)
    rows.orders["qte0-1"] = replace(ENTRY, state=OrderState.REJECTED)
    assert must.given_up_never_arrives(rows, ENTRY)


def test_two_orders_of_one_decision_and_an_id_taken_twice_are_seen() -> None:
    there = venue()
    again = replace(ENTRY, client_order_id="qte1-2")
    for order in (ENTRY, again):
        there.place(order)
    assert must.one_entry_a_decision(there, {"a": ENTRY, "b": again}, Rows(), again)
    assert must.accepted_once(Counter({"qte0-1": 2}), ENTRY)


def test_a_stop_that_is_given_up_too_early_is_seen() -> None:
    there, rows = venue(), Rows(positions={"pos-1": replace(HELD, position_id="pos-1")})
    there.place(ENTRY)
    there.still(1)
    stop = replace(
        ENTRY,
        client_order_id="qts0-1",
        side=Side.SELL,
        type=OrderType.STOP_MARKET,
        purpose=OrderPurpose.STOP_LOSS,
        trigger_price=D(80_000),
    )
    there.place(stop)
    assert must.stop_stays(there, rows, stop)
    there.place(replace(stop, client_order_id="qts1-2", trigger_price=D(81_000)))
    assert must.stop_stays(there, rows, stop) is None


def test_books_that_differ_are_seen() -> None:
    world = done()
    there, rows = world.venue, world.rows
    assert must.fills_equal(there, rows) is None
    key, fill = next(iter(rows.fills.items()))
    rows.fills[key] = replace(fill, commission=fill.commission + D("0.00000001"))
    assert must.fills_equal(there, rows)
    del rows.fills[key]
    assert must.fills_equal(there, rows)
    invented = replace(fill, trade_id="drift-1")
    assert must.no_invented_fill(there, fx.FillRecorded(invented, "p", None))
    repaired = fx.ReconcileRepaired("", "wallet", "wallet was 1, the exchange says 2", 1)
    assert must.wallet_explained(there, repaired)
    assert must.wallet_explained(there, replace(repaired, kind="missed_fill")) is None


def test_money_that_is_not_there_is_seen() -> None:
    world = done()
    assert must.wallet_conserved(world.venue) is None
    assert must.ledger_equal(world.venue, world.ledger) is None
    world.venue.engine.state.account.wallet += D("0.00000001")
    assert must.wallet_conserved(world.venue)
    assert must.wallet_equal(world.venue, world.rows)
    fills = world.ledger.books.trades.fills
    key = next(iter(fills))
    booked = fills[key]
    fills[key] = replace(booked, fill=replace(booked.fill, price=booked.fill.price + 1))
    assert must.ledger_equal(world.venue, world.ledger)
    del fills[key]
    assert must.ledger_equal(world.venue, world.ledger)


def test_what_does_not_come_to_an_end_is_seen() -> None:
    world = done()
    assert must.settled(world.venue, world.rows) is None
    world.rows.orders["qte0-1"] = replace(ENTRY, state=OrderState.UNKNOWN)
    assert must.settled(world.venue, world.rows)
    assert must.answered(world.rows, {"never": 0.0})
    there = venue()
    there.place(ENTRY)
    there.still(1)
    assert must.latched_flat(there, Rows(latch=fx.Latch("why", "who", 1)))


def test_a_naked_position_is_seen_after_its_grace() -> None:
    there = venue()
    there.place(ENTRY)
    there.still(1)
    led = ProtectionWatch(there, lambda: True, lambda: True, lambda _: False)
    restarting = ProtectionWatch(there, lambda: False, lambda: False, lambda _: False)
    taken_over = ProtectionWatch(there, lambda: False, lambda: True, lambda _: False)
    glances = {}
    for name, watch in (("led", led), ("restart", restarting), ("take-over", taken_over)):
        glances[name] = next(n for n in range(100) if watch.look())
    assert glances["led"] < glances["take-over"] < glances["restart"] < 50
    assert taken_over.look()
    taken_over.leader_lost()
    again = next(n for n in range(100) if taken_over.look())
    assert again == glances["take-over"], "each take-over has its grace"


class Deserted(World):
    """Nobody ever starts."""

    def start(self, name: str, generation: int) -> None:
        del name, generation


class Dying(World):
    """A task of each replica ends by a defect."""

    def start(self, name: str, generation: int) -> None:
        async def die() -> None:
            raise RuntimeError("a defect")

        super().start(name, generation)
        self.replicas[name].tasks.append(self.loop.create_task(die()))


class Stuck(World):
    """Nothing is due any more."""

    async def _live(self) -> None:
        raise Stopped("nothing is due")


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Deserted, "point_answered"), (Dying, "leader_lives"), (Stuck, "runs")],
    ids=["nobody answers", "a leader dies", "the run fails"],
)
def test_a_run_that_cannot_go_on_is_a_failure(kind: type[World], name: str) -> None:
    outcome = kind(RunPlan(0, 3.0, off=frozenset(KINDS))).run()
    assert outcome.failure is not None and outcome.failure.name == name


def test_every_invariant_has_its_sentence() -> None:
    for name, sentence in must.INVARIANTS.items():
        assert sentence.endswith(".") and len(sentence) > 20, name
