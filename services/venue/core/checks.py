"""What a request must satisfy before the venue takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from services.trade.filters import SymbolFilters
from services.trade.ids import CLIENT_ORDER_ID_LENGTH
from services.trade.order import OrderType, Side, TimeInForce
from services.venue.core import rejections
from services.venue.core.account import ZERO, Account
from services.venue.core.matching import marketable
from services.venue.core.orders import (
    AmendRequest,
    ConditionalRequest,
    Kind,
    OrderRequest,
    PositionSide,
    VenueOrder,
)
from services.venue.core.rules import SymbolRules


def check_client_id(client_id: str) -> None:
    """Refuse an empty or too long client id."""
    if not client_id:
        raise rejections.mandatory("newClientOrderId")
    if len(client_id) > CLIENT_ORDER_ID_LENGTH:
        raise rejections.client_id_length()


def check_quantity(filters: SymbolFilters, quantity: Decimal, *, market: bool) -> None:
    """Refuse a quantity that the filters do not allow."""
    if quantity <= 0:
        raise rejections.quantity_not_positive()
    if _decimals(quantity) > _decimals(filters.step_size):
        raise rejections.precision()
    largest = filters.market_max_quantity if market else filters.max_quantity
    if quantity < filters.min_quantity or quantity > largest or quantity % filters.step_size:
        raise rejections.filter_failure("MARKET_LOT_SIZE" if market else "LOT_SIZE")


def check_price(filters: SymbolFilters, price: Decimal) -> None:
    """Refuse a price that the filters do not allow."""
    if price <= 0:
        raise rejections.filter_failure("PRICE_FILTER")
    if _decimals(price) > _decimals(filters.tick_size):
        raise rejections.precision()
    if price % filters.tick_size:
        raise rejections.tick_size()


def check_order(request: OrderRequest, filters: SymbolFilters, market: Decimal) -> None:
    """Refuse a plain order that can be judged by itself."""
    check_client_id(request.client_id)
    if Kind(request.type).conditional:
        raise rejections.conditional_on_order()
    check_quantity(filters, request.quantity, market=request.type is OrderType.MARKET)
    price = market
    if request.type is OrderType.LIMIT:
        if request.price is None:
            raise rejections.mandatory("price")
        price = request.price
        check_price(filters, price)
        if request.time_in_force is TimeInForce.GTX and marketable(request.side, price, market):
            raise rejections.post_only()
    if not request.reduce_only and request.quantity * price < filters.min_notional:
        raise rejections.min_notional(str(filters.min_notional))


SMALLEST_CALLBACK = Decimal("0.1")
LARGEST_CALLBACK = Decimal(10)
"""Bounds of a trailing stop's callback rate, percent; its step is the smallest one."""


def check_conditional(request: ConditionalRequest, filters: SymbolFilters, market: Decimal) -> None:
    """Refuse a conditional order that can be judged by itself."""
    check_client_id(request.client_id)
    kind = Kind(request.type)
    if not kind.conditional:
        raise rejections.order_type()
    price = _reference_price(request, kind, filters, market)
    if request.close_position:
        if kind not in (Kind.STOP_MARKET, Kind.TAKE_PROFIT_MARKET):
            raise rejections.closing_kind(kind.value)
        return
    if request.quantity is None:
        raise rejections.mandatory("quantity")
    check_quantity(filters, request.quantity, market=not kind.limited)
    if request.quantity * price < filters.min_notional and not request.reduce_only:
        raise rejections.min_notional(str(filters.min_notional))


def _reference_price(
    request: ConditionalRequest, kind: Kind, filters: SymbolFilters, market: Decimal
) -> Decimal:
    """Check a conditional order's prices; return the one that its notional is judged by."""
    if kind is Kind.TRAILING_STOP_MARKET:
        rate = request.callback_rate
        if rate is None:
            raise rejections.mandatory("callbackRate")
        if not SMALLEST_CALLBACK <= rate <= LARGEST_CALLBACK or rate % SMALLEST_CALLBACK:
            raise rejections.callback_rate()
        if request.activation_price is None:
            return market
        check_price(filters, request.activation_price)
        if (request.activation_price - market) * request.side.sign >= 0:
            raise rejections.would_trigger()
        return request.activation_price
    check_price(filters, request.trigger_price)
    if not kind.limited:
        return request.trigger_price
    if request.price is None:
        raise rejections.mandatory("price")
    check_price(filters, request.price)
    return request.price


def check_amendment(request: AmendRequest, order: VenueOrder, filters: SymbolFilters) -> None:
    """Refuse an amendment that can be judged by itself."""
    if order.type is not OrderType.LIMIT:
        raise rejections.only_limit()
    if request.side is not order.side:
        raise rejections.Rejection(-1117, "Invalid side.")
    check_quantity(filters, request.quantity, market=False)
    check_price(filters, request.price)
    if (request.price, request.quantity) == (order.price, order.quantity):
        raise rejections.nothing_to_amend()
    if not order.reduce_only and request.quantity * request.price < filters.min_notional:
        raise rejections.min_notional(str(filters.min_notional))


def leg_closes(leg: PositionSide, side: Side) -> bool:
    """Tell whether an order of this side closes the leg of a hedge."""
    return side is (Side.SELL if leg is PositionSide.LONG else Side.BUY)


def in_mode(hedged: bool, leg: PositionSide, side: Side, *, reduce_only: bool) -> bool:
    """Return whether an order only reduces; refuse one that does not fit the position mode.

    In hedge mode the leg and the side say it, and `reduceOnly` may not be sent.
    """
    if hedged is (leg is PositionSide.BOTH):
        raise rejections.position_side()
    if not hedged:
        return reduce_only
    if reduce_only:
        raise rejections.not_required("reduceonly")
    return leg_closes(leg, side)


def exposure(held: Decimal, orders: Iterable[VenueOrder]) -> Decimal:
    """Return the largest position that the held quantity and open orders can lead to."""
    buys = sells = ZERO
    for order in orders:
        if order.reduce_only:
            continue
        if order.side is Side.BUY:
            buys += order.remaining
        else:
            sells += order.remaining
    return max(abs(held), held + buys, sells - held)


def initial_margin(
    account: Account, marks: Mapping[str, Decimal], orders: Iterable[VenueOrder]
) -> Decimal:
    """Return the initial margin of all positions and open orders."""
    by_leg: dict[tuple[str, PositionSide], list[VenueOrder]] = {
        (held.symbol, held.position_side): [] for held in account.open_holdings()
    }
    for order in orders:
        by_leg.setdefault((order.symbol, order.position_side), []).append(order)
    return sum(
        (
            exposure(account.holding(symbol, leg).quantity, group)
            * marks[symbol]
            / account.leverage(symbol)
            for (symbol, leg), group in by_leg.items()
        ),
        ZERO,
    )


def check_margin(
    account: Account,
    rules: SymbolRules,
    marks: Mapping[str, Decimal],
    others: list[VenueOrder],
    order: VenueOrder,
) -> None:
    """Refuse an order whose initial margin the account cannot carry, or over its bracket.

    `others` are the open orders that came to the book before it.
    """
    leg = order.position_side
    held = account.holding(order.symbol, leg).quantity
    same = [o for o in others if o.symbol == order.symbol and o.position_side is leg]
    after = exposure(held, [*same, order])
    if after <= exposure(held, same):
        return
    if after * marks[order.symbol] > rules.max_notional(account.leverage(order.symbol)):
        raise rejections.over_bracket()
    if initial_margin(account, marks, [*others, order]) > account.margin_balance(marks):
        raise rejections.margin()


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -int(exponent))
