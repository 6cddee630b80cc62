"""What a person does at the exchange, and what a reading of it tells."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.trade.order import Fill, Order, Side
from tests.unit.exec_risk.account_desk import Desk, report

D = Decimal


def by_hand(desk: Desk, side: Side, quantity: Decimal, trade: str, commission: str = "0.1") -> Fill:
    """A fill that a person made at the exchange."""
    return Fill(
        trade, "main", "BTCUSDT", f"web_{trade}", side, D(100), quantity, D(commission), D(0),
        False, desk.time,
    )  # fmt: skip


def reading(
    desk: Desk, held: Decimal, wallet: Decimal, fills: tuple[Fill, ...] = (), time: int = 0
) -> inputs.SnapshotRead:
    """A reading of the exchange in which the protection of BTCUSDT rests."""
    positions = (ex.ExchangePosition("BTCUSDT", held, D(100), D(100), D(0)),) if held else ()
    account = ex.AccountReport(wallet, wallet, time or desk.time, positions)
    resting = tuple(report(o) for o in desk.book.live_orders())
    return inputs.SnapshotRead(ex.ExchangeSnapshot(account, resting, fills), "user stream came up")


def resting_of(order: Order) -> ex.OrderReport:
    """What the exchange tells of an order that rests."""
    conditional = order.trigger_price is not None
    return replace(
        report(order),
        conditional=conditional,
        reduce_only=order.reduce_only,
        trigger_price=order.trigger_price,
    )
