"""Any sequence of orders, amendments, cancels, cut fills, funding and liquidations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.trade.order import OrderType, Side, TimeInForce
from services.venue.core.disturbances import Disturbance
from services.venue.core.engine import Engine
from services.venue.core.events import OrderEvent, VenueEvent
from services.venue.core.faults import FaultKind
from services.venue.core.matching import liquidity
from services.venue.core.orders import (
    AmendRequest,
    ConditionalRequest,
    Kind,
    OrderRequest,
    PositionSide,
)
from services.venue.core.rejections import Rejection
from services.venue.core.snapshot import export, restore
from services.venue.core.steps import Point
from tests.unit.venue import world


@dataclass(frozen=True)
class Cancel:
    """The end of an order is asked for."""

    symbol: str
    client_id: str


Request = OrderRequest | ConditionalRequest | AmendRequest | Cancel


@dataclass(frozen=True)
class Turn:
    """Requests of one step, then a price."""

    asked: tuple[Request, ...]
    price: str
    gap: bool


NAMES = [f"o{place}" for place in range(6)]
SYMBOLS = {name: (world.SYMBOL if place % 3 else world.OTHER) for place, name in enumerate(NAMES)}
BALANCE = Decimal(20_000)
SLOW = (HealthCheck.too_slow,)
"""Drawing a whole course may take long on a loaded machine."""


@st.composite
def requests(draw: st.DrawFn, name: str, leg: PositionSide) -> Request:
    """Draw one request about the order of a name."""
    symbol = SYMBOLS[name]
    scale, tick, base = (1, "0.1", 100) if symbol == world.SYMBOL else (50, "0.0001", 2)
    side = draw(st.sampled_from(list(Side)))
    quantity = Decimal(draw(st.integers(1, 400))) / 2 * scale
    price = Decimal(base * (1000 + draw(st.integers(-60, 60)))) / 1000
    price = price.quantize(Decimal(tick))
    what = draw(st.sampled_from(["plain", "plain", "conditional", "amend", "amend", "cancel"]))
    if what == "cancel":
        return Cancel(symbol, name)
    if what == "amend":
        return AmendRequest(symbol, side, quantity, price, client_id=name)
    reduces = leg is PositionSide.BOTH and draw(st.booleans())
    if what == "plain":
        kind = draw(st.sampled_from([OrderType.MARKET, OrderType.LIMIT, OrderType.LIMIT]))
        limit = price if kind is OrderType.LIMIT else None
        force = draw(st.sampled_from([TimeInForce.GTC, TimeInForce.GTX])) if limit else None
        return OrderRequest(
            symbol, side, kind, quantity, name, limit, force or TimeInForce.GTC, reduces, leg
        )
    algo = draw(st.sampled_from([kind for kind in Kind if kind.conditional]))
    trailing = algo is Kind.TRAILING_STOP_MARKET
    return ConditionalRequest(
        symbol,
        side,
        algo,
        Decimal(0) if trailing else price,
        name,
        quantity=quantity,
        reduce_only=reduces,
        position_side=leg,
        price=price if algo.limited else None,
        callback_rate=Decimal(draw(st.integers(1, 50))) / 10 if trailing else None,
    )


@st.composite
def turns(draw: st.DrawFn, *, hedged: bool = False) -> list[Turn]:
    """Draw a course in which no order gets two requests at one step."""
    legs = [PositionSide.LONG, PositionSide.SHORT] if hedged else [PositionSide.BOTH]
    course = []
    for _ in range(draw(st.integers(2, 14))):
        names = draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=True))
        asked = tuple(draw(requests(n, draw(st.sampled_from(legs)))) for n in names)
        price = str(Decimal(1000 + draw(st.integers(-90, 90))) / 10)
        course.append(Turn(asked, price, draw(st.booleans())))
    return course


def ask(exchange: Engine, request: Request) -> None:
    """Send a request; a refusal changes nothing and is part of the game."""
    try:
        match request:
            case OrderRequest():
                exchange.place(request)
            case ConditionalRequest():
                exchange.place_conditional(request)
            case AmendRequest():
                exchange.amend(request)
            case Cancel(symbol, client_id):
                exchange.cancel(symbol, client_id=client_id)
    except Rejection:
        return


def play(exchange: Engine, course: Sequence[Turn], volume: str = "200") -> list[VenueEvent]:
    """Play a course; every fourth step pays funding."""
    events: list[VenueEvent] = []
    for turn in course:
        for request in turn.asked:
            ask(exchange, request)
        other = (Decimal(turn.price) / 50).quantize(Decimal("0.0001"))
        due = exchange.state.number % 4 == 3
        rates = {world.SYMBOL: Decimal("0.0003"), world.OTHER: Decimal("-0.0002")} if due else None
        events += world.move(
            exchange, turn.price, gap=turn.gap, volume=volume, other=other, funding=rates
        )
    return events


def venue(*, hedged: bool = False, cut: str | None = None, balance: Decimal = BALANCE) -> Engine:
    exchange = world.engine(balance=balance)
    if hedged:
        exchange.set_hedged(True)
    if cut:
        exchange.disturb(Disturbance("p", FaultKind.PARTIAL, Decimal(cut), left=0))
    return exchange


CUTS = st.sampled_from([None, "0.1", "0.5"])
BALANCES = st.sampled_from([Decimal(300), BALANCE])


@given(st.booleans().flatmap(lambda h: st.tuples(st.just(h), turns(hedged=h))), CUTS, BALANCES)
@settings(max_examples=80, suppress_health_check=SLOW)
def test_wallet_is_what_was_booked(
    drawn: tuple[bool, list[Turn]], cut: str | None, balance: Decimal
) -> None:
    hedged, course = drawn
    exchange = venue(hedged=hedged, cut=cut, balance=balance)
    events = play(exchange, course)
    kinds = ("REALIZED_PNL", "COMMISSION", "FUNDING_FEE", "INSURANCE_CLEAR")
    booked = sum((world.income(events, kind) for kind in kinds), Decimal(0))
    assert exchange.state.account.wallet == balance + booked
    for held in exchange.state.account.holdings.values():
        mine = [
            t
            for t in world.trades(events)
            if (t.symbol, t.position_side) == (held.symbol, held.position_side)
        ]
        assert held.quantity == sum((t.quantity * t.side.sign for t in mine), Decimal(0))
        spent = sum((t.price * t.quantity * t.side.sign for t in mine), Decimal(0))
        signed = held.cost if held.quantity > 0 else -held.cost
        assert sum((t.realized for t in mine), Decimal(0)) == signed - spent


@given(turns(), CUTS)
@settings(max_examples=80, suppress_health_check=SLOW)
def test_an_amendment_never_changes_what_was_filled(course: list[Turn], cut: str | None) -> None:
    filled: dict[int, Decimal] = {}
    for event in play(venue(cut=cut), course):
        if not isinstance(event, OrderEvent):
            continue
        order, before = event.order, filled.get(event.order.order_id, Decimal(0))
        step = event.trade.quantity if event.trade else Decimal(0)
        assert order.executed == before + step
        assert order.executed <= order.quantity or order.status.value == "CANCELED"
        filled[order.order_id] = order.executed


@given(turns())
@settings(max_examples=80, suppress_health_check=SLOW)
def test_all_fills_of_a_step_share_its_liquidity(course: list[Turn]) -> None:
    exchange, volume = venue(), "20"
    for turn in course:
        events = play(exchange, [turn], volume=volume)
        state = exchange.state
        for symbol in (world.SYMBOL, world.OTHER):
            point = Point(symbol, state.marks[symbol], Decimal(volume), continuous=True)
            filters = state.symbols[symbol].filters
            most = liquidity(state.rules, filters, state.seed, point, state.number)
            filled = [
                event.trade.quantity
                for event in events
                if isinstance(event, OrderEvent) and event.trade and not event.order.liquidation
                if event.order.symbol == symbol
            ]
            assert sum(filled, Decimal(0)) <= most


@given(turns(hedged=True), CUTS)
@settings(max_examples=80, suppress_health_check=SLOW)
def test_legs_keep_their_sign_and_know_nothing_of_each_other(
    course: list[Turn], cut: str | None
) -> None:
    rich = Decimal(10_000_000)
    named = [
        replace(turn, asked=tuple(_named(r, f"{place}") for r in turn.asked if _leg(r)))
        for place, turn in enumerate(course)
    ]
    whole = venue(hedged=True, cut=cut, balance=rich)
    play(whole, named, volume="1000000")
    for leg, sign in ((PositionSide.LONG, 1), (PositionSide.SHORT, -1)):
        own = [replace(t, asked=tuple(r for r in t.asked if _leg(r) is leg)) for t in named]
        alone = venue(hedged=True, cut=cut, balance=rich)
        play(alone, own, volume="1000000")
        for symbol in (world.SYMBOL, world.OTHER):
            held = whole.state.account.holding(symbol, leg)
            assert held.quantity * sign >= 0
            assert held == alone.state.account.holding(symbol, leg)


def _named(request: Request, suffix: str) -> Request:
    if isinstance(request, OrderRequest | ConditionalRequest):
        return replace(request, client_id=f"{request.client_id}-{suffix}")
    return request


def _leg(request: Request) -> PositionSide | None:
    return request.position_side if isinstance(request, OrderRequest | ConditionalRequest) else None


@given(turns(), CUTS, st.randoms(use_true_random=False))
@settings(max_examples=80, suppress_health_check=SLOW)
def test_arrival_order_within_a_step_changes_nothing(
    course: list[Turn], cut: str | None, shuffler: object
) -> None:
    mixed = []
    for turn in course:
        asked = list(turn.asked)
        shuffler.shuffle(asked)  # type: ignore[attr-defined]
        mixed.append(replace(turn, asked=tuple(asked)))
    one, other = venue(cut=cut), venue(cut=cut)
    assert play(one, course) == play(other, mixed)
    assert export(one.state) == export(other.state)


@given(turns(hedged=True), CUTS, st.integers(0, 14))
@settings(max_examples=80, suppress_health_check=SLOW)
def test_snapshot_in_the_middle_changes_nothing(
    course: list[Turn], cut: str | None, place: int
) -> None:
    whole, part = venue(hedged=True, cut=cut), venue(hedged=True, cut=cut)
    for exchange in (whole, part):
        exchange.set_countdown(world.SYMBOL, 5 * world.THIRD)
    expected = play(whole, course)
    events = play(part, course[:place])
    resumed = world.engine(balance=BALANCE)
    restore(resumed.state, json.loads(json.dumps(export(part.state))))
    assert events + play(resumed, course[place:]) == expected
    assert export(resumed.state) == export(whole.state)
