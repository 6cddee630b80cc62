"""Fills and facts of positions, made in one line."""

from __future__ import annotations

from decimal import Decimal

from services.analytics.core.ledger import BookedFill, PositionFact
from services.trade.order import Fill, OrderPurpose
from services.trade.position import ExitReason, PositionSide


def booked(
    number: int,
    *,
    entry: bool,
    side: PositionSide = PositionSide.LONG,
    quantity: str | Decimal = "1",
    price: str | Decimal = "100",
    position_id: str = "pos-1",
    commission: str | Decimal = "0.04",
    time: int | None = None,
) -> BookedFill:
    """One fill of a position."""
    return BookedFill(
        fill=Fill(
            trade_id=str(number),
            account="main",
            symbol="BTCUSDT",
            client_order_id=f"order-{number}",
            side=side.entry_side if entry else side.exit_side,
            price=Decimal(price),
            quantity=Decimal(quantity),
            commission=Decimal(commission),
            realized_pnl=Decimal("7"),
            maker=False,
            time=number if time is None else time,
        ),
        position_id=position_id,
        purpose=OrderPurpose.ENTRY if entry else OrderPurpose.STOP_LOSS,
        sequence=number,
    )


def told(
    version: int,
    *,
    closed: bool = False,
    side: PositionSide = PositionSide.LONG,
    position_id: str = "pos-1",
    net: str = "0",
) -> PositionFact:
    """One fact about a position."""
    return PositionFact(
        position_id=position_id,
        version=version,
        account="main",
        symbol="BTCUSDT",
        side=side,
        closed=closed,
        opened_time=1,
        leverage=3,
        signal_id="sig-1",
        trace_id="ab" * 16,
        model_version="m1",
        in_sample=True,
        exit_reason=ExitReason.STOP_LOSS if closed else None,
        reported_net=Decimal(net),
    )
