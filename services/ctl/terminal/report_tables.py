"""Tables of reports: groups of trades, the equity's measures, comparisons, services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from quantum.analytics.v1 import report_pb2 as pb
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.ctl.terminal.tables import IN_SAMPLE, clock, money

NOT_GIVEN = "-"
"""Stands where the data do not give a number; never a zero."""


def report(found: pb.GetReportResponse) -> RenderableType:
    """Return the whole report as people read it."""
    parts: list[RenderableType] = [
        f"report {day_and_time(found.since)} to {day_and_time(found.until)} UTC (end excluded)",
        flows(found.flows),
        f"equity: {measures(found.measures)}",
    ]
    named = (
        ("by day", found.by_day),
        ("by hour of the exit", found.by_hour),
        ("by symbol", found.by_symbol),
        ("by model", found.by_model),
        ("by exit", found.by_exit),
    )
    parts += [groups([*rows, found.total], title) for title, rows in named if rows]
    if not found.total.trades:
        parts.append("no trade closed in this span")
    parts.append(checks(found))
    if found.services:
        parts.append(services(found.services))
    if found.alerts:
        parts.append(alerts(found.alerts))
    return Group(*parts)


def flows(found: pb.ReportFlows) -> str:
    """Return in one line what moved, as the exchange's account history has it."""
    return (
        f"moved in the span: gross {found.gross_pnl or 0}, commission {found.commission or 0},"
        f" funding {found.funding or 0}, net {found.net_pnl or 0} USD by {found.fills} fills"
    )


def groups(rows: Iterable[pb.ReportGroup], title: str = "") -> Table:
    """Return closed trades by what they have in common."""
    table = Table(title=title or None, title_justify="left", pad_edge=False)
    for column in (
        "", "trades", "won", "95 %", "gross", "commission", "funding", "net", "factor", "R",
        "slip bp", "MAE", "MFE", "held", "",
    ):  # fmt: skip
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            str(row.trades),
            share(row, "win_rate"),
            f"{share(row, 'win_rate_low')}..{share(row, 'win_rate_high')}",
            money(row.gross_pnl),
            money(row.commission),
            money(row.funding),
            money(row.net_pnl),
            number(row, "profit_factor"),
            number(row, "average_r"),
            number(row, "slippage_bp"),
            money(row.adverse_usd) if row.adverse_usd else NOT_GIVEN,
            money(row.favourable_usd) if row.favourable_usd else NOT_GIVEN,
            duration(row.holding_seconds),
            IN_SAMPLE if row.in_sample else "",
        )
    return table


def models(
    rows: Sequence[pb.ReportGroup], counts: Iterable[pb.PredictionCount], title: str = ""
) -> Table:
    """Return what each model version said and what came of it."""
    said: dict[str, dict[str, int]] = {}
    for count in counts:
        said.setdefault(count.model_version, {})[count.action] = count.predictions
    earned = {row.name: row for row in rows}
    table = Table(title=title or None, title_justify="left", pad_edge=False)
    for column in (
        "model", "buy", "sell", "hold", "trades", "won", "95 %", "net", "factor", "R", "slip bp",
        "",
    ):  # fmt: skip
        table.add_column(column, no_wrap=True)
    for name in sorted({*said, *earned}):
        row = earned.get(name, pb.ReportGroup(name=name))
        actions = said.get(name, {})
        table.add_row(
            name,
            *(str(actions.get(action, 0)) for action in ("BUY", "SELL", "HOLD")),
            str(row.trades),
            share(row, "win_rate"),
            f"{share(row, 'win_rate_low')}..{share(row, 'win_rate_high')}",
            money(row.net_pnl or "0"),
            number(row, "profit_factor"),
            number(row, "average_r"),
            number(row, "slippage_bp"),
            IN_SAMPLE if row.in_sample else "",
        )
    return table


def measures(found: pb.EquityMeasures) -> str:
    """Return in one line how the equity went."""
    fall = f"deepest fall {found.max_drawdown_usd or 0} USD ({found.max_drawdown:.2%})"
    if found.HasField("trough_time"):
        fall += f" to {clock(found.trough_time)}"
    ratios = [f"{name} {number(found, name)}" for name in ("sharpe", "sortino", "calmar")]
    return f"{fall}, {', '.join(ratios)} of {found.days} daily returns"


def checks(found: pb.GetReportResponse) -> RenderableType:
    """Return whether the ledger and the wallet agreed."""
    differing = [c for c in found.checks if not c.agrees]
    if not found.checks_made:
        return Text("ledger against wallet: not compared in this span yet", "yellow")
    if not differing:
        return Text(
            f"ledger against wallet: equal to the cent, compared {found.checks_made} times", "green"
        )
    table = Table(title="ledger against wallet: NOT equal", title_justify="left", pad_edge=False)
    for column in (
        "account",
        "from",
        "to",
        "wallet",
        "ledger",
        "difference",
        "gross against the exchange",
    ):
        table.add_column(column, no_wrap=True)
    for row in differing:
        table.add_row(
            row.account,
            clock(row.since),
            clock(row.until),
            row.wallet_change,
            row.booked,
            row.difference,
            row.realized_difference,
        )
    return table


def services(rows: Iterable[pb.ServiceHistory]) -> Table:
    """Return how the services were."""
    table = Table(title="services", title_justify="left", pad_edge=False)
    for column in ("service", "now", "changes", "unhealthy for", "last reason"):
        table.add_column(column, no_wrap=column != "last reason")
    for row in rows:
        ill = duration(row.unhealthy_seconds)
        table.add_row(row.service, row.status, str(row.changes), ill, row.last_reason)
    return table


def alerts(rows: Iterable[pb.AlertCount]) -> Table:
    """Return how many risk alerts came."""
    table = Table(title="risk alerts", title_justify="left", pad_edge=False)
    for column in ("kind", "severity", "count"):
        table.add_column(column)
    for row in rows:
        table.add_row(row.type, row.severity, str(row.count))
    return table


def trade(found: pb.TradeMeasures) -> Mapping[str, str]:
    """Return what one trade is measured by, as text by name."""
    return {
        "signal price": found.signal_price or NOT_GIVEN,
        "slippage": f"{found.slippage_usd or NOT_GIVEN} USD, {number(found, 'slippage_bp')} bp",
        "initial stop": found.initial_stop or NOT_GIVEN,
        "risk": found.risk_usd or NOT_GIVEN,
        "R": number(found, "r"),
        "MAE": found.adverse_usd or NOT_GIVEN,
        "MFE": found.favourable_usd or NOT_GIVEN,
        "held": duration(found.holding_seconds),
    }


def number(message: pb.ReportGroup | pb.EquityMeasures | pb.TradeMeasures, field: str) -> str:
    """Return an optional number to two places."""
    return f"{getattr(message, field):.2f}" if message.HasField(field) else NOT_GIVEN  # type: ignore[arg-type]


def share(message: pb.ReportGroup, field: str) -> str:
    """Return an optional share in percent."""
    return f"{getattr(message, field):.0%}" if message.HasField(field) else NOT_GIVEN  # type: ignore[arg-type]


def duration(seconds: float) -> str:
    """Return a duration in hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def day_and_time(time: Timestamp) -> str:
    """Return a market time, UTC."""
    moment: datetime = time.ToDatetime()
    return f"{moment:%Y-%m-%d %H:%M}"
