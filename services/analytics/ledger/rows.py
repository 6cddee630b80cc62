"""Values of the core to and from rows of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from services.analytics.core.equity import EquityHour
from services.analytics.core.ledger import BookedFill, BookedFunding, PositionFact, SignalFact
from services.analytics.core.portfolio import Anchor, Mark
from services.analytics.core.trades import Trade, TradeStatus
from services.trade.order import Fill, OrderPurpose, Side
from services.trade.position import ExitReason, Position, PositionSide
from services.trade.times import from_datetime, to_datetime

Row = Mapping[str, Any]


def fill_columns(booked: BookedFill, realized: Decimal) -> dict[str, Any]:
    """Row of a fill with its share of the gross profit."""
    fill = booked.fill
    moment = to_datetime(fill.time)
    return {
        "account": fill.account,
        "symbol": fill.symbol,
        "trade_id": fill.trade_id,
        "position_id": booked.position_id,
        "client_order_id": fill.client_order_id,
        "side": fill.side,
        "purpose": booked.purpose,
        "price": fill.price,
        "quantity": fill.quantity,
        "commission": fill.commission,
        "exchange_realized": fill.realized_pnl,
        "maker": fill.maker,
        "time": moment,
        "day": moment.date(),
        "sequence": booked.sequence,
        "realized": realized,
    }


def fill_from_row(row: Row) -> BookedFill:
    """Fill of a row."""
    return BookedFill(
        fill=Fill(
            trade_id=row["trade_id"],
            account=row["account"],
            symbol=row["symbol"],
            client_order_id=row["client_order_id"],
            side=Side(row["side"]),
            price=row["price"],
            quantity=row["quantity"],
            commission=row["commission"],
            realized_pnl=row["exchange_realized"],
            maker=row["maker"],
            time=from_datetime(row["time"]),
        ),
        position_id=row["position_id"],
        purpose=OrderPurpose(row["purpose"]),
        sequence=row["sequence"],
    )


def funding_columns(booked: BookedFunding) -> dict[str, Any]:
    """Row of a funding settlement."""
    moment = to_datetime(booked.time)
    return {
        "account": booked.account,
        "symbol": booked.symbol,
        "settlement_id": booked.settlement_id,
        "position_id": booked.position_id,
        "amount": booked.amount,
        "time": moment,
        "day": moment.date(),
        "sequence": booked.sequence,
    }


def funding_from_row(row: Row) -> BookedFunding:
    """Funding settlement of a row."""
    return BookedFunding(
        account=row["account"],
        symbol=row["symbol"],
        settlement_id=row["settlement_id"],
        position_id=row["position_id"],
        amount=row["amount"],
        time=from_datetime(row["time"]),
        sequence=row["sequence"],
    )


def fact_columns(fact: PositionFact) -> dict[str, Any]:
    """Row of what exec_risk said of a position."""
    return {
        "position_id": fact.position_id,
        "version": fact.version,
        "account": fact.account,
        "symbol": fact.symbol,
        "side": fact.side,
        "closed": fact.closed,
        "opened_time": to_datetime(fact.opened_time),
        "leverage": fact.leverage,
        "signal_id": fact.signal_id,
        "trace_id": fact.trace_id,
        "model_version": fact.model_version,
        "entry_confidence": fact.entry_confidence,
        "in_sample": fact.in_sample,
        "exit_reason": fact.exit_reason,
        "reported_net": fact.reported_net,
        "initial_stop": fact.initial_stop,
        "stop_version": fact.stop_version,
    }


def fact_from_row(row: Row) -> PositionFact:
    """What exec_risk said of a position, of a row."""
    return PositionFact(
        position_id=row["position_id"],
        version=row["version"],
        account=row["account"],
        symbol=row["symbol"],
        side=PositionSide(row["side"]),
        closed=row["closed"],
        opened_time=from_datetime(row["opened_time"]),
        leverage=row["leverage"],
        signal_id=row["signal_id"],
        trace_id=row["trace_id"],
        model_version=row["model_version"],
        entry_confidence=row["entry_confidence"],
        in_sample=row["in_sample"],
        exit_reason=ExitReason(row["exit_reason"]) if row["exit_reason"] else None,
        reported_net=row["reported_net"],
        initial_stop=row["initial_stop"],
        stop_version=row["stop_version"],
    )


def trade_columns(trade: Trade) -> dict[str, Any]:
    """Row of a computed trade."""
    position = trade.position
    closed = to_datetime(position.closed_time) if position.closed_time is not None else None
    return {
        "position_id": position.position_id,
        "account": position.account,
        "symbol": position.symbol,
        "side": position.side,
        "status": trade.status,
        "quantity": position.quantity,
        "entry_quantity": position.entry_quantity,
        "entry_cost": position.entry_cost,
        "exit_quantity": position.exit_quantity,
        "exit_cost": position.exit_cost,
        "entry_price": position.entry_price,
        "exit_price": position.exit_price,
        "gross_pnl": position.realized_pnl,
        "commission": position.commission,
        "funding": position.funding,
        "net_pnl": position.net_pnl,
        "leverage": position.leverage,
        "opened_time": to_datetime(position.opened_time),
        "closed_time": closed,
        "closed_day": closed.date() if closed else None,
        "exit_reason": position.exit_reason,
        "signal_id": position.signal_id,
        "trace_id": position.trace_id,
        "model_version": position.entry_model,
        "entry_confidence": position.entry_confidence,
        "in_sample": position.in_sample,
        "version": trade.version,
        "reported_net": trade.reported_net,
        "agrees": trade.agrees,
        "initial_stop": trade.initial_stop,
    }


def trade_from_row(row: Row) -> Trade:
    """Computed trade of a row."""
    closed = row["closed_time"]
    position = Position(
        position_id=row["position_id"],
        account=row["account"],
        symbol=row["symbol"],
        side=PositionSide(row["side"]),
        opened_time=from_datetime(row["opened_time"]),
        leverage=row["leverage"],
        signal_id=row["signal_id"],
        trace_id=row["trace_id"],
        entry_confidence=row["entry_confidence"],
        entry_model=row["model_version"],
        in_sample=row["in_sample"],
        entry_quantity=row["entry_quantity"],
        entry_cost=row["entry_cost"],
        exit_quantity=row["exit_quantity"],
        exit_cost=row["exit_cost"],
        commission=row["commission"],
        funding=row["funding"],
        closed_time=from_datetime(closed) if closed else None,
        exit_reason=ExitReason(row["exit_reason"]) if row["exit_reason"] else None,
    )
    return Trade(
        position=position,
        status=TradeStatus(row["status"]),
        version=row["version"],
        reported_net=row["reported_net"],
        initial_stop=row["initial_stop"],
    )


def anchor_from_row(row: Row) -> Anchor:
    """Wallet anchor of a row."""
    return Anchor(
        account=row["account"],
        time=from_datetime(row["time"]),
        sequence=row["sequence"],
        wallet_balance=row["wallet_balance"],
        from_round=row["from_round"],
        in_sample=row["in_sample"],
    )


def mark_from_row(row: Row) -> Mark:
    """Mark of a row."""
    return Mark(row["price"], from_datetime(row["time"]), row["sequence"])


def anchor_columns(anchor: Anchor) -> dict[str, Any]:
    """Row of a wallet anchor."""
    return {
        "account": anchor.account,
        "time": to_datetime(anchor.time),
        "sequence": anchor.sequence,
        "wallet_balance": anchor.wallet_balance,
        "from_round": anchor.from_round,
        "in_sample": anchor.in_sample,
    }


def mark_columns(key: tuple[str, str], mark: Mark) -> dict[str, Any]:
    """Row of a mark."""
    return {
        "account": key[0],
        "symbol": key[1],
        "price": mark.price,
        "time": to_datetime(mark.time),
        "sequence": mark.sequence,
    }


def equity_columns(hour: EquityHour) -> dict[str, Any]:
    """Row of an hour of equity."""
    return {
        "account": hour.account,
        "hour": to_datetime(hour.hour),
        "time": to_datetime(hour.time),
        "sequence": hour.sequence,
        "equity": hour.equity,
        "low": hour.low,
        "high": hour.high,
        "in_sample": hour.in_sample,
    }


def equity_from_row(row: Row) -> EquityHour:
    """Hour of equity of a row."""
    return EquityHour(
        account=row["account"],
        hour=from_datetime(row["hour"]),
        time=from_datetime(row["time"]),
        sequence=row["sequence"],
        equity=row["equity"],
        low=row["low"],
        high=row["high"],
        in_sample=row["in_sample"],
    )


def signal_columns(fact: SignalFact) -> dict[str, Any]:
    """Row of a signal."""
    return {
        "signal_id": fact.signal_id,
        "symbol": fact.symbol,
        "action": fact.action,
        "price": fact.price,
        "time": to_datetime(fact.time),
        "confidence": fact.confidence,
        "model_version": fact.model_version,
        "in_sample": fact.in_sample,
    }
