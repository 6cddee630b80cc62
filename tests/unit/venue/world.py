"""A small exchange for the tests of the matching engine."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from services.trade.order import OrderType, Side, TimeInForce
from services.venue.core.engine import Engine
from services.venue.core.events import IncomeEvent, OrderEvent, VenueEvent
from services.venue.core.orders import ConditionalRequest, OrderRequest, Trade
from services.venue.core.rules import VenueRules
from services.venue.core.steps import Point, Step
from services.venue.markets.listing import symbol_rules

SYMBOL = "BTCUSDT"
OTHER = "XRPUSDT"
BALANCE = Decimal(10_000)
THIRD = 20_000
"""A third of a minute, in milliseconds."""


def engine(*, rules: VenueRules | None = None, seed: int = 7, balance: Decimal = BALANCE) -> Engine:
    """Return an exchange with two symbols at 100 and 2."""
    made = Engine(
        rules=rules or VenueRules(),
        symbols={
            SYMBOL: symbol_rules(SYMBOL, tick=Decimal("0.1"), step=Decimal("0.001")),
            OTHER: symbol_rules(OTHER, tick=Decimal("0.0001"), step=Decimal("0.1")),
        },
        seed=seed,
        balance=balance,
        start=0,
    )
    made.set_marks({SYMBOL: Decimal(100), OTHER: Decimal(2)})
    return made


def move(
    exchange: Engine,
    price: str | Decimal,
    *,
    gap: bool = False,
    volume: str | Decimal = "1000",
    other: str | Decimal | None = None,
    funding: dict[str, Decimal] | None = None,
) -> list[VenueEvent]:
    """Move the first symbol to a price, and the second if asked; return what happened."""
    state = exchange.state
    number = state.number + 1
    points = [Point(SYMBOL, Decimal(price), Decimal(volume), not gap)]
    if other is not None:
        points.append(Point(OTHER, Decimal(other), Decimal(volume), not gap))
    return exchange.step(Step(number, number * THIRD, tuple(points)), funding)


def market(
    side: Side, quantity: str | Decimal, client_id: str, *, reduce_only: bool = False
) -> OrderRequest:
    """Return a market order of the first symbol."""
    return OrderRequest(
        SYMBOL, side, OrderType.MARKET, Decimal(quantity), client_id, reduce_only=reduce_only
    )


def limit(
    side: Side,
    quantity: str,
    price: str,
    client_id: str,
    *,
    kind: TimeInForce = TimeInForce.GTC,
    reduce_only: bool = False,
) -> OrderRequest:
    """Return a limit order of the first symbol."""
    return OrderRequest(
        SYMBOL,
        side,
        OrderType.LIMIT,
        Decimal(quantity),
        client_id,
        Decimal(price),
        kind,
        reduce_only,
    )


def stop(
    side: Side,
    quantity: str | None,
    trigger: str,
    client_id: str,
    *,
    kind: OrderType = OrderType.STOP_MARKET,
    reduce_only: bool = True,
) -> ConditionalRequest:
    """Return a conditional order of the first symbol; without quantity it closes the position."""
    return ConditionalRequest(
        SYMBOL,
        side,
        kind,
        Decimal(trigger),
        client_id,
        quantity=None if quantity is None else Decimal(quantity),
        reduce_only=reduce_only and quantity is not None,
        close_position=quantity is None,
    )


def trades(events: Sequence[VenueEvent]) -> list[Trade]:
    """Return the trades among events."""
    return [e.trade for e in events if isinstance(e, OrderEvent) and e.trade is not None]


def executions(events: Sequence[VenueEvent], client_id: str) -> list[str]:
    """Return the execution types that were told of an order."""
    return [
        e.execution for e in events if isinstance(e, OrderEvent) and e.order.client_id == client_id
    ]


def income(events: Sequence[VenueEvent], kind: str) -> Decimal:
    """Return the sum of one kind of income."""
    found = [
        e.income.amount for e in events if isinstance(e, IncomeEvent) and e.income.type == kind
    ]
    return sum(found, Decimal(0))
