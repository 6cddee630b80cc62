"""Trades out of events: any order, any repetition, the same result."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.analytics.core.books import Books
from services.analytics.core.ledger import (
    BookedFunding,
    Fact,
    RoundFact,
    WalletFact,
)
from services.analytics.core.trades import (
    Projection,
    Trade,
    TradeStatus,
    compute,
    realized_by_fill,
    shares_of,
)
from services.trade.order import OrderPurpose, Side
from services.trade.position import ExitReason, Position, PositionSide
from tests.unit.analytics.position_facts import booked, told

MONEY = st.decimals(min_value="0.01", max_value="99999", places=2)
SIZE = st.decimals(min_value="0.001", max_value="50", places=3)
DAY = 86_400_000


@st.composite
def histories(draw: st.DrawFn) -> list[Fact]:
    """Facts of a few positions: entries, exits, funding, versions, rounds."""
    found: list[Fact] = []
    number = 0
    for index in range(draw(st.integers(1, 3))):
        side = draw(st.sampled_from(PositionSide))
        position_id = f"pos-{index}"
        entries = draw(st.lists(st.tuples(SIZE, MONEY), min_size=1, max_size=3))
        held = sum((q for q, _ in entries), Decimal(0))
        cut = draw(st.decimals(min_value="0.001", max_value=str(held), places=3))
        exits = [cut] if cut == held else [cut, held - cut]
        for quantity, price in entries:
            number += 1
            found.append(
                booked(
                    number,
                    entry=True,
                    side=side,
                    quantity=quantity,
                    price=price,
                    position_id=position_id,
                    commission=draw(MONEY),
                )
            )
        for quantity in exits if draw(st.booleans()) else exits[:1]:
            number += 1
            found.append(
                booked(
                    number,
                    entry=False,
                    side=side,
                    quantity=quantity,
                    price=draw(MONEY),
                    position_id=position_id,
                )
            )
        versions = draw(st.integers(0, 3))
        for version in range(1, versions + 1):
            closed = version == versions and draw(st.booleans())
            stop = draw(st.none() | MONEY)
            told_of = told(version, closed=closed, side=side, position_id=position_id)
            found.append(
                replace(told_of, initial_stop=stop, stop_version=0 if stop is None else version)
            )
        amount = draw(st.decimals(min_value="-5", max_value="5", places=4))
        found.append(
            BookedFunding("main", "BTCUSDT", f"f{index}", position_id, amount, number, number)
        )
        found.append(
            RoundFact(
                "main", number, draw(MONEY), (("BTCUSDT", draw(MONEY)),), False, number, draw(MONEY)
            )
        )
        found.append(WalletFact("main", number, draw(MONEY), number))
    return found


def books_of(history: list[Fact]) -> Books:
    """Project a history."""
    books = Books()
    for fact in history:
        books.apply(fact)
    return books


def state(books: Books) -> object:
    """Everything that a projection says."""
    trades: dict[str, Trade | None] = {}
    shares = {}
    for position_id, held in books.trades.holdings().items():
        fact = books.trades.facts.get(position_id)
        trades[position_id] = compute(position_id, fact, held.fills, held.funding)
        shares[position_id] = shares_of(position_id, held.fills)
    return trades, shares, books.anchors, books.marks, books.equity, books.signals


@settings(max_examples=150)
@given(history=histories(), data=st.data())
def test_any_order_and_any_repetition_gives_the_same_projection(
    history: list[Fact], data: st.DataObject
) -> None:
    """Incident 77: events that come late, twice or in another order change nothing."""
    repeated = history + data.draw(st.lists(st.sampled_from(history), max_size=6))
    shuffled = data.draw(st.permutations(repeated))
    assert state(books_of(shuffled)) == state(books_of(history))


@settings(max_examples=150)
@given(history=histories())
def test_the_days_shares_add_up_to_the_trades_gross_profit(history: list[Fact]) -> None:
    """Incident 85: what the days report adds up to what the trades made, to the last digit."""
    books = books_of(history)
    for position_id, held in books.trades.holdings().items():
        if not position_id:
            continue
        trade = books.trades.trade(position_id)
        assert trade is not None
        shares = sum(realized_by_fill(held.fills).values(), Decimal(0))
        if trade.position.quantity == 0:
            assert shares == trade.position.realized_pnl
        else:
            assert abs(shares - trade.position.realized_pnl) < Decimal("1e-15")


@settings(max_examples=150)
@given(history=histories())
def test_a_trade_is_what_the_fills_make_of_a_position_one_by_one(history: list[Fact]) -> None:
    """The ledger sums fills at once; to the digit it is `Position.with_fill`, money included."""
    for position_id, held in books_of(history).trades.holdings().items():
        trade = compute(position_id, None, held.fills, held.funding)
        if trade is None:
            continue
        position = Position(
            position_id=position_id,
            account="main",
            symbol="BTCUSDT",
            side=trade.position.side,
            opened_time=trade.position.opened_time,
            leverage=1,
        )
        for booked_fill in sorted(held.fills, key=lambda f: not f.entry):
            position = position.with_fill(booked_fill.fill)
        assert repr(trade.position) == repr(replace(position, funding=trade.position.funding))


@settings(max_examples=100)
@given(side=st.sampled_from(PositionSide), entry=MONEY, leave=MONEY, quantity=SIZE)
def test_the_sign_of_a_short_survives(
    side: PositionSide, entry: Decimal, leave: Decimal, quantity: Decimal
) -> None:
    """Incident 81: a SHORT stays a SHORT and gains when the price falls."""
    projection = Projection()
    projection.apply(booked(1, entry=True, side=side, quantity=quantity, price=entry))
    projection.apply(booked(2, entry=False, side=side, quantity=quantity, price=leave))
    trade = projection.trade("pos-1")
    assert trade is not None
    assert trade.position.side is side
    assert trade.position.realized_pnl == (leave - entry) * quantity * side.sign


def closed_trade() -> Projection:
    """Long 1 at 100, out at 90, funding -0.5."""
    projection = Projection()
    projection.apply(told(1))
    projection.apply(booked(1, entry=True))
    projection.apply(booked(2, entry=False, price="90"))
    projection.apply(BookedFunding("main", "BTCUSDT", "f1", "pos-1", Decimal("-0.5"), 2))
    projection.apply(told(4, closed=True, net="-10.58"))
    return projection


def test_a_closed_trade_counts_commission_and_funding() -> None:
    """Incidents 85, 93: commission and funding are in the result."""
    trade = closed_trade().trade("pos-1")
    assert trade is not None
    assert trade.status is TradeStatus.CLOSED
    assert trade.position.realized_pnl == Decimal(-10)
    assert trade.position.commission == Decimal("0.08")
    assert trade.position.funding == Decimal("-0.5")
    assert trade.position.net_pnl == Decimal("-10.58")
    assert trade.position.closed_time == 2
    assert trade.position.exit_reason is ExitReason.STOP_LOSS
    assert trade.position.signal_id == "sig-1"
    assert trade.agrees


def test_a_closed_trade_that_exec_risk_reported_otherwise_is_found() -> None:
    """Incident 85: two accounts of one trade that differ are not passed over."""
    projection = closed_trade()
    projection.apply(told(5, closed=True, net="-10"))
    trade = projection.trade("pos-1")
    assert trade is not None and not trade.agrees


def test_a_trade_without_all_its_fills_is_settling_not_closed() -> None:
    """Incident 85: a trade counts when the ledger holds all of its fills."""
    projection = Projection()
    projection.apply(told(3, closed=True))
    projection.apply(booked(1, entry=True))
    trade = projection.trade("pos-1")
    assert trade is not None and trade.status is TradeStatus.SETTLING
    projection.apply(booked(2, entry=False))
    trade = projection.trade("pos-1")
    assert trade is not None and trade.status is TradeStatus.CLOSED


def test_an_exit_before_its_entry_is_held_back() -> None:
    projection = Projection()
    projection.apply(booked(2, entry=False, price="90"))
    early = projection.trade("pos-1")
    assert early is not None and early.held_back == 1 and early.position.quantity == 0
    projection.apply(booked(1, entry=True))
    late = projection.trade("pos-1")
    assert late is not None and late.held_back == 0
    assert late.position.realized_pnl == Decimal(-10)


def test_a_partial_exit_brings_its_share_on_its_day() -> None:
    fills = [
        booked(1, entry=True, quantity="2", price="100", time=DAY),
        booked(2, entry=False, quantity="1", price="110", time=DAY + 1),
        booked(3, entry=False, quantity="1", price="95", time=2 * DAY),
    ]
    shares = realized_by_fill(fills)
    assert [shares[f.key] for f in fills] == [Decimal(0), Decimal(10), Decimal(-5)]


def test_a_fill_without_a_position_counts_as_the_exchange_booked_it() -> None:
    """Incident 82: money that moved is in the result even when no position is known."""
    lost = booked(9, entry=False, position_id="")
    assert shares_of("", [lost]) == {lost.key: Decimal(7)}


def test_a_fill_that_is_given_its_position_later_moves_there() -> None:
    projection = Projection()
    lost = booked(1, entry=True, position_id="")
    projection.apply(lost)
    projection.touched.clear()
    projection.apply(replace(lost, position_id="pos-1"))
    assert projection.touched == {"", "pos-1"}
    trade = projection.trade("pos-1")
    assert trade is not None and trade.position.quantity == 1
    projection.apply(lost)
    assert projection.fills[lost.key].position_id == "pos-1"


def test_a_trade_known_only_by_its_fact_has_no_quantity() -> None:
    projection = Projection()
    projection.apply(told(1, side=PositionSide.SHORT))
    trade = projection.trade("pos-1")
    assert trade is not None and trade.position.quantity == 0
    assert trade.position.side is PositionSide.SHORT
    assert projection.trade("pos-2") is None


def test_the_exchanges_own_closing_order_belongs_to_the_position_it_closes() -> None:
    fill = replace(booked(1, entry=False), purpose=OrderPurpose.EXIT)
    assert fill.fill.side is Side.SELL and fill.position_side is PositionSide.LONG
    trade = compute("pos-1", None, [fill], [])
    assert trade is not None and trade.position.side is PositionSide.LONG
