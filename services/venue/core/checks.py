"""What a request must satisfy before the venue takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from services.trade.filters import SymbolFilters
from services.trade.ids import CLIENT_ORDER_ID_LENGTH
from services.trade.order import OrderType, Side
from services.venue.core import rejections
from services.venue.core.account import ZERO, Account
from services.venue.core.matching import marketable
from services.venue.core.orders import ConditionalRequest, OrderRequest, TimeInForce, VenueOrder
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
    if request.type.conditional:
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


def check_conditional(request: ConditionalRequest, filters: SymbolFilters) -> None:
    """Refuse a conditional order that can be judged by itself."""
    check_client_id(request.client_id)
    if not request.type.conditional:
        raise rejections.order_type()
    check_price(filters, request.trigger_price)
    if request.close_position:
        return
    if request.quantity is None:
        raise rejections.mandatory("quantity")
    check_quantity(filters, request.quantity, market=True)
    small = request.quantity * request.trigger_price < filters.min_notional
    if small and not request.reduce_only:
        raise rejections.min_notional(str(filters.min_notional))


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
    by_symbol: dict[str, list[VenueOrder]] = {h.symbol: [] for h in account.open_holdings()}
    for order in orders:
        by_symbol.setdefault(order.symbol, []).append(order)
    return sum(
        (
            exposure(account.holding(symbol).quantity, group)
            * marks[symbol]
            / account.leverage(symbol)
            for symbol, group in by_symbol.items()
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
    held = account.holding(order.symbol).quantity
    same = [other for other in others if other.symbol == order.symbol]
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
