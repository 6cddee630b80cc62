"""What must hold whatever is ordered and wherever the price goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.trade.order import OrderType, Side, TimeInForce
from services.venue.core.engine import Engine
from services.venue.core.events import VenueEvent
from services.venue.core.orders import ConditionalRequest, OrderRequest
from services.venue.core.rejections import Rejection
from services.venue.core.snapshot import export, restore
from tests.unit.venue import world

Request = OrderRequest | ConditionalRequest
Round = tuple[list[Request], str, bool]

_SIDES = st.sampled_from(list(Side))
_SYMBOLS = st.sampled_from([(world.SYMBOL, 1, "0.1"), (world.OTHER, 50, "0.0001")])
_MOVES = st.integers(min_value=-80, max_value=80)


@st.composite
def requests(draw: st.DrawFn, name: str) -> Request:
    """Draw an order; its client id is its name, so ids are unique as long as names are."""
    symbol, scale, tick = draw(_SYMBOLS)
    side, reduce_only = draw(_SIDES), draw(st.booleans())
    quantity = Decimal(draw(st.integers(1, 400))) / 2 * scale
    base = Decimal(100) if scale == 1 else Decimal(2)
    price = (base * (1000 + draw(_MOVES)) / 1000).quantize(Decimal(tick))
    kind = draw(st.sampled_from(list(OrderType)))
    if kind.conditional:
        closing = draw(st.booleans())
        return ConditionalRequest(
            symbol,
            side,
            kind,
            price,
            name,
            quantity=None if closing else quantity,
            reduce_only=reduce_only and not closing,
            close_position=closing,
        )
    resting = kind is OrderType.LIMIT
    force = draw(st.sampled_from(list(TimeInForce))) if resting else TimeInForce.GTC
    limit = price if resting else None
    return OrderRequest(symbol, side, kind, quantity, name, limit, force, reduce_only)


@st.composite
def courses(draw: st.DrawFn) -> list[Round]:
    """Draw rounds: requests that come at one step, then a price and whether it jumps there."""
    rounds = []
    for number in range(draw(st.integers(2, 12))):
        count = draw(st.integers(0, 4))
        asked = [draw(requests(f"o{number}-{place}")) for place in range(count)]
        price = Decimal(1000 + draw(_MOVES)) / 10
        rounds.append((asked, str(price), draw(st.booleans())))
    return rounds


def ask(exchange: Engine, request: Request) -> None:
    """Send a request; a refusal changes nothing and is part of the game."""
    try:
        if isinstance(request, OrderRequest):
            exchange.place(request)
        else:
            exchange.place_conditional(request)
    except Rejection:
        return


def play(exchange: Engine, rounds: Sequence[Round], *, volume: str = "200") -> list[VenueEvent]:
    """Play the rounds and return everything that happened."""
    events: list[VenueEvent] = []
    for asked, price, gap in rounds:
        for request in asked:
            ask(exchange, request)
        other = (Decimal(price) / 50).quantize(Decimal("0.0001"))
        funding = {world.SYMBOL: Decimal("0.0001")} if exchange.state.number % 5 == 4 else None
        events += world.move(exchange, price, gap=gap, volume=volume, other=other, funding=funding)
    return events


@given(courses())
@settings(max_examples=100)
def test_money_is_conserved_to_the_last_digit(rounds: list[Round]) -> None:
    exchange = world.engine(balance=Decimal(20_000))
    events = play(exchange, rounds)
    kinds = ("REALIZED_PNL", "COMMISSION", "FUNDING_FEE", "INSURANCE_CLEAR")
    booked = sum((world.income(events, kind) for kind in kinds), Decimal(0))
    assert exchange.state.account.wallet == Decimal(20_000) + booked
    trades = world.trades(events)
    assert world.income(events, "REALIZED_PNL") == sum((t.realized for t in trades), Decimal(0))
    assert world.income(events, "COMMISSION") == -sum((t.commission for t in trades), Decimal(0))


@given(courses())
@settings(max_examples=100)
def test_position_is_the_signed_sum_of_its_fills(rounds: list[Round]) -> None:
    exchange = world.engine(balance=Decimal(20_000))
    trades = world.trades(play(exchange, rounds))
    for symbol in (world.SYMBOL, world.OTHER):
        mine = [t for t in trades if t.symbol == symbol]
        held = exchange.state.account.holding(symbol)
        assert held.quantity == sum((t.quantity * t.side.sign for t in mine), Decimal(0))
        # What the fills cost, what they realised and what is still held must add up exactly.
        spent = sum((t.price * t.quantity * t.side.sign for t in mine), Decimal(0))
        realized = sum((t.realized for t in mine), Decimal(0))
        signed_cost = held.cost if held.quantity > 0 else -held.cost
        assert realized == signed_cost - spent


@given(courses())
@settings(max_examples=100)
def test_reduce_only_never_opens_or_flips(rounds: list[Round]) -> None:
    exchange = world.engine(balance=Decimal(20_000))
    reducing = {
        r.client_id
        for asked, _, _ in rounds
        for r in asked
        if r.reduce_only or (isinstance(r, ConditionalRequest) and r.close_position)
    }
    held = {world.SYMBOL: Decimal(0), world.OTHER: Decimal(0)}
    for trade in world.trades(play(exchange, rounds)):
        before = held[trade.symbol]
        after = before + trade.quantity * trade.side.sign
        if trade.client_id in reducing:
            assert abs(after) < abs(before) and before * after >= 0
        held[trade.symbol] = after


@given(courses())
@settings(max_examples=100)
def test_fills_of_an_order_add_up_and_stay_within_its_limit(rounds: list[Round]) -> None:
    exchange = world.engine(balance=Decimal(20_000))
    asked = {r.client_id: r for group, _, _ in rounds for r in group}
    filled: dict[str, Decimal] = {}
    for trade in world.trades(play(exchange, rounds)):
        filled[trade.client_id] = filled.get(trade.client_id, Decimal(0)) + trade.quantity
        request = asked.get(trade.client_id)
        if isinstance(request, OrderRequest) and request.price is not None:
            assert (trade.price - request.price) * request.side.sign <= 0
    for client_id, quantity in filled.items():
        request = asked.get(client_id)
        if request is not None and request.quantity is not None:
            assert 0 < quantity <= request.quantity


@given(courses(), st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_arrival_order_within_a_step_changes_nothing(rounds: list[Round], shuffler: object) -> None:
    straight, mixed = (world.engine(balance=Decimal(20_000)) for _ in range(2))
    shuffled = []
    for asked, price, gap in rounds:
        other = list(asked)
        shuffler.shuffle(other)  # type: ignore[attr-defined]
        shuffled.append((other, price, gap))
    assert play(straight, rounds) == play(mixed, shuffled)
    assert export(straight.state) == export(mixed.state)


@given(courses(), st.integers(0, 11))
@settings(max_examples=100)
def test_snapshot_in_the_middle_changes_nothing(rounds: list[Round], cut: int) -> None:
    whole, part, resumed = (world.engine(balance=Decimal(20_000)) for _ in range(3))
    expected = play(whole, rounds)
    events = play(part, rounds[:cut])
    restore(resumed.state, json.loads(json.dumps(export(part.state))))
    events += play(resumed, rounds[cut:])
    assert events == expected
    assert export(resumed.state) == export(whole.state)


@given(courses(), st.integers(0, 3))
@settings(max_examples=60)
def test_ids_are_unique_and_exact_in_a_double(rounds: list[Round], seed: int) -> None:
    exchange = world.engine(balance=Decimal(20_000), seed=seed)
    ids = [t.trade_id for t in world.trades(play(exchange, rounds, volume="20"))]
    assert len(set(ids)) == len(ids)
    assert all(0 < one < 1 << 53 for one in ids)
