"""Gaps and partial fills that the venue is told to have: part of the state, replayed exactly."""

from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.trade.order import Side, TimeInForce
from services.venue.core.disturbances import Disturbance
from services.venue.core.faults import FaultKind
from services.venue.core.snapshot import export, restore
from tests.unit.venue import world
from tests.unit.venue.test_venue_properties import Round, courses, play


def gap(amount: str, *, left: int = 1) -> Disturbance:
    return Disturbance("g", FaultKind.GAP, Decimal(amount), world.SYMBOL, left=left)


def partial(amount: str, *, client_id: str = "", left: int = 0) -> Disturbance:
    return Disturbance("p", FaultKind.PARTIAL, Decimal(amount), client_id=client_id, left=left)


def test_a_gap_jumps_over_a_stop_and_the_next_point_is_the_markets_own() -> None:
    exchange = world.engine()
    exchange.place(world.market(Side.BUY, "2", "entry"))
    world.move(exchange, "100")
    exchange.place_conditional(world.stop(Side.SELL, None, "98", "stop"))
    world.move(exchange, "100")
    exchange.disturb(gap("-0.1"))
    (trade,) = world.trades(world.move(exchange, "100"))
    assert trade.price < Decimal("90.1")
    assert exchange.state.marks[world.SYMBOL] == 90
    world.move(exchange, "100")
    assert exchange.state.marks[world.SYMBOL] == 100
    assert exchange.state.disturbances == {}


def test_a_market_order_fills_in_shares_until_done() -> None:
    exchange = world.engine()
    exchange.disturb(partial("0.4"))
    exchange.place(world.market(Side.BUY, "2", "entry"))
    fills = [[t.quantity for t in world.trades(world.move(exchange, "100"))] for _ in range(4)]
    assert fills == [[Decimal("0.8")], [Decimal("0.8")], [Decimal("0.4")], []]


def test_only_named_orders_are_cut_and_only_as_often_as_said() -> None:
    exchange = world.engine()
    exchange.disturb(partial("0.5", client_id="qte", left=1))
    exchange.place(world.market(Side.BUY, "2", "qtx-other"))
    exchange.place(world.market(Side.BUY, "2", "qte-entry"))
    first = {t.client_id: t.quantity for t in world.trades(world.move(exchange, "100"))}
    assert first == {"qtx-other": Decimal(2), "qte-entry": Decimal(1)}
    assert exchange.state.disturbances == {}
    assert [t.quantity for t in world.trades(world.move(exchange, "100"))] == [Decimal(1)]


def test_fill_or_kill_that_would_be_cut_expires_whole() -> None:
    exchange = world.engine()
    exchange.disturb(partial("0.5"))
    exchange.place(world.limit(Side.BUY, "2", "101", "fok", kind=TimeInForce.FOK))
    events = world.move(exchange, "100")
    assert world.executions(events, "fok") == ["NEW", "EXPIRED"]


@given(courses(), st.integers(0, 11), st.sampled_from(["0.05", "0.3"]), st.integers(0, 3))
@settings(max_examples=80)
def test_disturbed_money_is_conserved_and_a_restart_changes_nothing(
    rounds: list[Round], cut: int, share: str, left: int
) -> None:
    whole, part, resumed = (world.engine(balance=Decimal(20_000)) for _ in range(3))
    for exchange in (whole, part):
        exchange.disturb(partial(share, left=left))
        exchange.disturb(gap("-0.03", left=left))
    expected = play(whole, rounds)
    events = play(part, rounds[:cut])
    restore(resumed.state, json.loads(json.dumps(export(part.state))))
    events += play(resumed, rounds[cut:])
    assert events == expected
    assert export(resumed.state) == export(whole.state)
    kinds = ("REALIZED_PNL", "COMMISSION", "FUNDING_FEE", "INSURANCE_CLEAR")
    booked = sum((world.income(events, kind) for kind in kinds), Decimal(0))
    assert whole.state.account.wallet == Decimal(20_000) + booked


@given(courses(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_arrival_order_changes_nothing_while_fills_are_cut(
    rounds: list[Round], shuffler: object
) -> None:
    straight, mixed = (world.engine(balance=Decimal(20_000)) for _ in range(2))
    for exchange in (straight, mixed):
        exchange.disturb(partial("0.3", left=4))
    shuffled = []
    for asked, price, jumps in rounds:
        other = list(asked)
        shuffler.shuffle(other)  # type: ignore[attr-defined]
        shuffled.append((other, price, jumps))
    assert play(straight, rounds) == play(mixed, shuffled)
    assert export(straight.state) == export(mixed.state)
