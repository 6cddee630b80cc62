"""The targets of a position on the exchange: brought to its ladder by place, then cancel."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.orders import orders
from services.exec_risk.core.orders.order_kinds import LIVE_ON_EXCHANGE
from services.exec_risk.core.orders.refusals import paused
from services.exec_risk.core.protection.protection import near
from services.exec_risk.core.protection.targets import Rung
from services.exec_risk.core.state import Book
from services.trade.order import Order, OrderPurpose, OrderState, OrderType
from services.trade.position import Position

TAKE = OrderPurpose.TAKE_PROFIT
_KIND = OrderType.TAKE_PROFIT_MARKET


def nearest_target(book: Book, position: Position) -> Order | None:
    """Return the live target that the price meets first."""
    live = [o for o in _targets(book, position) if o.state in LIVE_ON_EXCHANGE]
    priced = [o for o in live if o.trigger_price and not orders.goes(book, o)]
    sign = position.side.sign
    return min(priced, key=lambda o: (o.trigger_price or 0) * sign, default=None)


def keep_targets(book: Book, position: Position, rungs: tuple[Rung, ...]) -> bool:
    """Bring the position's targets to the ladder; False while one is missing.

    What rests besides is cancelled when all of the ladder rests: the surplus is reduce-only and
    can open nothing. While a target fills nothing is changed.
    """
    existing = _targets(book, position)
    if any(o.filled_quantity or o.type is OrderType.MARKET for o in existing):
        return True
    missing, kept = _match(book, rungs, [o for o in existing if not orders.goes(book, o)])
    surplus = [o for o in existing if o not in kept and o.state is OrderState.ACCEPTED]
    if missing:
        room = book.policy.protection.max_targets - len(existing)
        if len(missing) > room:
            _cancel_all(book, surplus)  # their places are needed; a target may be missing
        elif not paused(book, position.position_id, TAKE):
            for rung in missing:
                _create(book, position, _KIND, rung.quantity, rung.price)
    elif all(o.state in LIVE_ON_EXCHANGE for o in kept):
        _cancel_all(book, surplus)
    return not missing


def take_at_market(book: Book, order: Order) -> None:
    """Close a target's part at market: its price was passed before it could rest."""
    position = book.positions[order.symbol]
    quantity = min(order.quantity, position.quantity)
    _create(book, position, OrderType.MARKET, quantity)


def _match(
    book: Book, rungs: tuple[Rung, ...], free: list[Order]
) -> tuple[list[Rung], list[Order]]:
    """Return the rungs without an order, and the orders that stand for the others."""
    missing: list[Rung] = []
    kept: list[Order] = []
    for rung in rungs:
        found = next((o for o in free if o not in kept and _stands_for(book, rung, o)), None)
        if found is None:
            missing.append(rung)
        else:
            kept.append(found)
    return missing, kept


def _stands_for(book: Book, rung: Rung, order: Order) -> bool:
    trigger = order.trigger_price
    if trigger is None or order.remaining != rung.quantity:
        return False
    fraction = book.policy.protection.replace_fraction
    return trigger == rung.price or near(trigger, rung.price, fraction)


def _create(
    book: Book,
    position: Position,
    kind: OrderType,
    quantity: Decimal,
    trigger: Decimal | None = None,
) -> None:
    orders.create(
        book,
        symbol=position.symbol,
        side=position.side.exit_side,
        kind=kind,
        purpose=TAKE,
        quantity=quantity,
        position_id=position.position_id,
        signal_id=position.signal_id,
        trigger_price=trigger,
    )


def _cancel_all(book: Book, surplus: list[Order]) -> None:
    for order in surplus:
        orders.cancel(book, order)


def _targets(book: Book, position: Position) -> list[Order]:
    return book.orders_of(position.position_id, TAKE)
