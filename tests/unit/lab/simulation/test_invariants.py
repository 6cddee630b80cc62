"""Every invariant can fail: each is shown a world in which it does not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest

from services.exec_risk.core import effects as fx
from services.exec_risk.core.inputs import Signal
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.risk.risk_policy import RiskPolicy
from services.lab.simulation import books, entry_limits
from services.lab.simulation import invariants as must
from services.lab.simulation.faults import KINDS, Faults
from services.lab.simulation.market import SimulatedMarket
from services.lab.simulation.plan import RunPlan
from services.lab.simulation.processes import Processes
from services.lab.simulation.rows import Rows
from services.lab.simulation.script import Script
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
PLAN = fx.EntryPlan(
    "pos-9", "BTCUSDT", PositionSide.LONG, 5, D("0.01"), D("0.02"), D(90_000), decided_time=0
)
STOP = replace(
    ENTRY,
    client_order_id="qts0-1",
    side=Side.SELL,
    type=OrderType.STOP_MARKET,
    purpose=OrderPurpose.STOP_LOSS,
    trigger_price=D(80_000),
)
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
    overlay = must.Overlay.of(replace(rows, orders=overlay.orders, positions=overlay.positions))
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
        lambda _, overlay: overlay.positions.update({HELD.position_id: HELD}),
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


def decision(
    order: Order = ENTRY, rows: Rows | None = None, overlay: must.Overlay | None = None
) -> entry_limits.Decision:
    found = overlay or must.Overlay({}, {})
    return entry_limits.Decision(order, rows or Rows(), found, {"BTCUSDT": D(90_000)})


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
    assert entry_limits.within_limits(policy, decision(order))
    assert entry_limits.within_limits(Policy(), decision()) is None


def test_limits_on_the_account_hold_when_it_is_decided_not_when_a_part_is_sent() -> None:
    """What a person opened meanwhile counts for the next decision only."""
    policy = Policy(max_positions=0)
    begun = must.Overlay({"qte1-1": ENTRY}, {})
    later = replace(ENTRY, client_order_id="qte1-2")
    within = entry_limits.within_limits
    assert within(policy, decision(later, overlay=begun)) is None
    assert within(Policy(max_position_usd=D(100)), decision(later, overlay=begun))
    assert within(policy, decision(replace(later, position_id="pos-2"), overlay=begun))


@pytest.mark.parametrize(
    ("shares", "word"),
    [
        (lambda share: RiskPolicy(share, D(1), D(1)), "net"),
        (lambda share: RiskPolicy(D(1), share, D(1)), "BTCUSDT"),
        (lambda share: RiskPolicy(D(1), D(1), share), "majors"),
    ],
    ids=["net", "symbol", "cluster"],
)
def test_a_share_that_is_passed_is_seen(shares: Callable[[Decimal], RiskPolicy], word: str) -> None:
    """900 USD are ordered and 900 USD of the same are held or on their way, of 10,000."""
    waits = replace(ENTRY, client_order_id="qte0-2", position_id="pos-2")
    for overlay in (must.Overlay({}, {"BTCUSDT": HELD}), must.Overlay({"qte0-2": waits}, {})):
        for share, fits in ((D("0.19"), True), (D("0.16"), False)):
            policy = Policy(max_exposure_usd=D(10_000), risk=shares(share))
            problem = entry_limits.within_shares(policy, decision(overlay=overlay))
            assert problem is None if fits else problem is not None and word in problem


def test_entries_in_a_row_and_trades_of_a_day_are_counted() -> None:
    before = replace(ENTRY, client_order_id="qte0-2", position_id="pos-2", state=OrderState.FILLED)
    plans = {"pos-2": replace(PLAN, position_id="pos-2", decided_time=40), "pos-9": PLAN}
    rows = Rows(plans=plans, positions={"pos-9": replace(HELD, closed_time=90)})
    seen = decision(rows=rows, overlay=must.Overlay({"qte0-2": before}, {}))
    within = entry_limits.within_pace
    assert within(Policy(risk=RiskPolicy(max_orders_per_minute=2)), seen) is None
    assert within(Policy(risk=RiskPolicy(max_orders_per_minute=1)), seen)
    later = replace(seen, order=replace(ENTRY, decided_time=60_040))
    assert within(Policy(risk=RiskPolicy(max_orders_per_minute=1)), later) is None
    assert within(Policy(risk=RiskPolicy(max_trades_per_day=2)), seen) is None
    assert within(Policy(risk=RiskPolicy(max_trades_per_day=1)), seen)
    tomorrow = replace(seen, order=replace(ENTRY, decided_time=86_400_000))
    assert within(Policy(risk=RiskPolicy(max_trades_per_day=1)), tomorrow) is None


def test_an_id_that_names_two_decisions_is_seen() -> None:
    there, again = venue(), replace(ENTRY, decided_time=200)
    assert must.id_names_one(there, ENTRY, again) is None
    there.place(ENTRY)
    assert must.id_names_one(there, ENTRY, again) is None, "the exchange refuses it"
    there.still(1)
    assert must.id_names_one(there, ENTRY, again)
    assert must.id_names_one(there, ENTRY, ENTRY) is None
    assert must.id_names_one(there, None, again) is None


@pytest.mark.parametrize(("seconds", "seen"), [(3.0, False), (5.0, True)])
def test_an_entry_that_is_decided_without_a_store_is_seen(seconds: float, seen: bool) -> None:
    world = World(RunPlan(1, 3.0, off=frozenset(KINDS)))
    world.processes.start("a", 0)
    world.rows.go_away(0.0, 60.0)
    world.loop.run_until_complete(world.loop.pause(seconds))
    decided = fx.OrderChanged(ENTRY, None, "decided")
    world.processes.told(world.replicas["a"], [decided])
    assert (world.loop.broken is not None) is seen


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
    there.place(STOP)
    assert must.stop_stays(there, rows, STOP)
    there.place(replace(STOP, client_order_id="qts1-2", trigger_price=D(81_000)))
    assert must.stop_stays(there, rows, STOP) is None


def test_a_stop_may_go_when_its_position_is_closed_and_only_its_rows_are_late() -> None:
    """What a person holds by now was never covered by it."""
    held = replace(HELD, position_id="pos-1", entry_quantity=ENTRY.quantity)
    there = venue()
    there.place(ENTRY)
    there.still(1)
    leave = replace(ENTRY, client_order_id="qte1-1", side=Side.SELL, purpose=OrderPurpose.EXIT)
    rows = Rows(positions={"pos-1": held}, orders={"qte1-1": leave})
    there.place(STOP)
    assert must.stop_stays(there, rows, STOP)
    there.place(leave)
    there.still(2)
    there.place(replace(ENTRY, client_order_id="web_1"))
    there.still(3)
    assert there.held(ENTRY.symbol)
    assert must.stop_stays(there, rows, STOP) is None


def test_books_that_differ_are_seen() -> None:
    world = done()
    there, rows = world.venue, world.rows
    assert books.fills_equal(there, rows) is None
    key, fill = next(iter(rows.fills.items()))
    rows.fills[key] = replace(fill, commission=fill.commission + D("0.00000001"))
    assert books.fills_equal(there, rows)
    del rows.fills[key]
    assert books.fills_equal(there, rows)
    invented = replace(fill, trade_id="drift-1")
    assert must.no_invented_fill(there, fx.FillRecorded(invented, "p", None))
    repaired = fx.ReconcileRepaired("", "wallet", "wallet was 1, the exchange says 2", 1)
    assert must.wallet_explained(there, repaired)
    assert must.wallet_explained(there, replace(repaired, kind="missed_fill")) is None


def test_money_that_is_not_there_is_seen() -> None:
    world = done()
    assert books.wallet_conserved(world.venue) is None
    assert books.ledger_equal(world.venue, world.ledger) is None
    world.venue.engine.state.account.wallet += D("0.00000001")
    assert books.wallet_conserved(world.venue)
    assert books.wallet_equal(world.venue, world.rows)
    fills = world.ledger.books.trades.fills
    key = next(iter(fills))
    booked = fills[key]
    fills[key] = replace(booked, fill=replace(booked.fill, price=booked.fill.price + 1))
    assert books.ledger_equal(world.venue, world.ledger)
    del fills[key]
    assert books.ledger_equal(world.venue, world.ledger)


def test_what_does_not_come_to_an_end_is_seen() -> None:
    world = done()
    assert books.settled(world.venue, world.rows) is None
    world.rows.orders["qte0-1"] = replace(ENTRY, state=OrderState.UNKNOWN)
    assert books.settled(world.venue, world.rows)
    assert books.answered(world.rows, {"never": 0.0})
    there = venue()
    there.place(ENTRY)
    there.still(1)
    assert books.latched_flat(there, Rows(latch=fx.Latch("why", "who", 1)))


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


class Deserted(Processes):
    """Nobody ever starts."""

    def start(self, name: str, generation: int) -> None:
        del name, generation


class Dying(Processes):
    """A task of each replica ends by a defect."""

    def start(self, name: str, generation: int) -> None:
        async def die() -> None:
            raise RuntimeError("a defect")

        super().start(name, generation)
        replica = self._replicas[name]
        replica.tasks.append(replica.loop.create_task(die()))


class Stuck(World):
    """Nothing is due any more."""

    async def _live(self) -> None:
        raise Stopped("nothing is due")


@pytest.mark.parametrize(
    ("world", "name"),
    [
        (partial(World, processes=Deserted), "point_answered"),
        (partial(World, processes=Dying), "leader_lives"),
        (Stuck, "runs"),
    ],
    ids=["nobody answers", "a leader dies", "the run fails"],
)
def test_a_run_that_cannot_go_on_is_a_failure(world: Callable[[RunPlan], World], name: str) -> None:
    outcome = world(RunPlan(0, 3.0, off=frozenset(KINDS))).run()
    assert outcome.failure is not None and outcome.failure.name == name


def test_every_invariant_has_its_sentence() -> None:
    for name, sentence in must.INVARIANTS.items():
        assert sentence.endswith(".") and len(sentence) > 20, name
