"""Reports as messages of the contract."""

from __future__ import annotations

from decimal import Decimal

from quantum.analytics.v1 import report_pb2 as pb

from services.analytics.core.equity import EquityPoint
from services.analytics.core.ledger import BookedFill
from services.analytics.core.ledger_check import LedgerCheck
from services.analytics.core.report import Flows, Group, Measures, Report
from services.analytics.core.service_history import ServiceHistory
from services.analytics.core.truth import TradeTruth
from services.analytics.reports.views import Surroundings
from services.trade.codec import average_to_pb, decimal_to_pb, time_to_pb


def report(found: Report, around: Surroundings, trades: int) -> pb.GetReportResponse:
    """Write a report with at most so many single trades."""
    return pb.GetReportResponse(
        since=time_to_pb(found.since),
        until=time_to_pb(found.until),
        flows=flows(found.flows),
        total=group(found.total),
        by_day=map(group, found.by_day),
        by_hour=map(group, found.by_hour),
        by_symbol=map(group, found.by_symbol),
        by_model=map(group, found.by_model),
        by_exit=map(group, found.by_exit),
        measures=measures(found.measures),
        equity=map(_point, found.equity),
        trades=[_trade(t) for t in reversed(found.trades[-trades:])],
        checks=map(_check, around.checks.shown),
        checks_made=around.checks.made,
        services=map(_service, around.services),
        alerts=[pb.AlertCount(type=k, severity=s, count=n) for k, s, n in around.alerts],
        predictions=[
            pb.PredictionCount(model_version=m, action=a, predictions=n)
            for m, a, n in around.predictions
        ],
    )


def flows(found: Flows) -> pb.ReportFlows:
    """Write what moved."""
    return pb.ReportFlows(
        gross_pnl=decimal_to_pb(found.gross),
        commission=decimal_to_pb(found.commission),
        funding=decimal_to_pb(found.funding),
        net_pnl=decimal_to_pb(found.net),
        fills=found.fills,
    )


def group(found: Group) -> pb.ReportGroup:
    """Write closed trades together."""
    share = found.win_rate
    return pb.ReportGroup(
        name=found.name,
        trades=found.trades,
        wins=found.wins,
        gross_pnl=decimal_to_pb(found.gross),
        commission=decimal_to_pb(found.commission),
        funding=decimal_to_pb(found.funding),
        net_pnl=decimal_to_pb(found.net),
        win_rate=share.value if share else None,
        win_rate_low=share.low if share else None,
        win_rate_high=share.high if share else None,
        profit_factor=found.profit_factor,
        average_r=found.average_r,
        slippage_usd=_amount(found.slippage),
        slippage_bp=found.slippage_bp,
        adverse_usd=_amount(found.adverse),
        favourable_usd=_amount(found.favourable),
        holding_seconds=found.holding_ms / 1000,
        in_sample=found.in_sample,
    )


def measures(found: Measures) -> pb.EquityMeasures:
    """Write how the equity went."""
    fall = found.drawdown
    return pb.EquityMeasures(
        max_drawdown_usd=decimal_to_pb(fall.amount),
        max_drawdown=fall.fraction,
        peak_time=time_to_pb(fall.peak_time) if fall.peak_time else None,
        trough_time=time_to_pb(fall.trough_time) if fall.trough_time else None,
        sharpe=found.sharpe,
        sortino=found.sortino,
        calmar=found.calmar,
        days=found.days,
    )


def trade_measures(truth: TradeTruth) -> pb.TradeMeasures:
    """Write what one trade is measured by."""
    return pb.TradeMeasures(
        signal_price=decimal_to_pb(truth.signal_price),
        slippage_usd=_amount(truth.slippage),
        slippage_bp=truth.slippage_bp,
        initial_stop=decimal_to_pb(truth.trade.initial_stop),
        risk_usd=_amount(truth.risk),
        r=truth.r,
        adverse_usd=_amount(truth.adverse),
        favourable_usd=_amount(truth.favourable),
        holding_seconds=truth.holding_ms / 1000,
    )


def fill(booked: BookedFill, realized: Decimal) -> pb.TradeFill:
    """Write one fill of a trade."""
    return pb.TradeFill(
        trade_id=booked.fill.trade_id,
        time=time_to_pb(booked.fill.time),
        side=booked.fill.side.value,
        purpose=booked.purpose.value,
        price=decimal_to_pb(booked.fill.price),
        quantity=decimal_to_pb(booked.fill.quantity),
        commission=decimal_to_pb(booked.fill.commission),
        realized_pnl=decimal_to_pb(realized),
        exchange_realized_pnl=decimal_to_pb(booked.fill.realized_pnl),
        maker=booked.fill.maker,
    )


def _trade(truth: TradeTruth) -> pb.ReportTrade:
    position = truth.position
    return pb.ReportTrade(
        position_id=position.position_id,
        account=position.account,
        symbol=position.symbol,
        side=position.side.value,
        gross_pnl=decimal_to_pb(position.realized_pnl),
        commission=decimal_to_pb(position.commission),
        funding=decimal_to_pb(position.funding),
        net_pnl=decimal_to_pb(position.net_pnl),
        opened_time=time_to_pb(position.opened_time),
        closed_time=time_to_pb(position.closed_time) if position.closed_time else None,
        exit_reason=position.exit_reason.value if position.exit_reason else "",
        model_version=position.entry_model,
        measures=trade_measures(truth),
        in_sample=position.in_sample,
    )


def _point(point: EquityPoint) -> pb.EquityPoint:
    return pb.EquityPoint(
        time=time_to_pb(point.time),
        equity=decimal_to_pb(point.equity),
        low=decimal_to_pb(point.low),
        high=decimal_to_pb(point.high),
    )


def _check(check: LedgerCheck) -> pb.LedgerCheck:
    return pb.LedgerCheck(
        account=check.until.account,
        since=time_to_pb(check.since.time),
        until=time_to_pb(check.until.time),
        wallet_change=decimal_to_pb(check.wallet_change),
        booked=decimal_to_pb(check.booked),
        difference=decimal_to_pb(check.difference),
        realized_difference=decimal_to_pb(check.realized_difference),
        agrees=check.agrees,
    )


def _service(history: ServiceHistory) -> pb.ServiceHistory:
    return pb.ServiceHistory(
        service=history.service,
        changes=history.changes,
        unhealthy_seconds=history.unhealthy_ms / 1000,
        status=history.status,
        last_reason=history.last_reason,
    )


def _amount(value: Decimal | None) -> str:
    # an average has no exact decimal form, and what is measured needs no more than ten places
    return average_to_pb(value)
