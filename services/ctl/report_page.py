"""A report as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from quantum.analytics.v1 import report_pb2 as pb

from services.ctl.terminal import report_tables as texts
from services.ctl.terminal.tables import clock, money
from services.lab.training import charts

_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;"
    "color:#212529}table{border-collapse:collapse;margin:.5rem 0 1.5rem}"
    "td,th{padding:.2rem .7rem;border-bottom:1px solid #dee2e6;text-align:right}"
    "td:first-child,th:first-child{text-align:left}.no{background:#fff4e6;padding:.2rem .6rem}"
    ".plus{color:#2b8a3e}.minus{color:#c92a2a}svg{font:11px system-ui,sans-serif;"
    "max-width:100%;height:auto}.plots{display:flex;flex-wrap:wrap;gap:1rem}"
)
_DAY_SECONDS = 86_400
_MOST_POINTS = 500
_HEADS = (
    "", "trades", "won", "95 %", "gross", "commission", "funding", "net", "profit factor", "R",
    "slippage bp", "MAE", "MFE", "held",
)  # fmt: skip


def page(found: pb.GetReportResponse) -> str:
    """Return the page."""
    span = f"{texts.day_and_time(found.since)} to {texts.day_and_time(found.until)} UTC"
    parts = [
        f"<h1>Quantum Trader: {escape(span)}</h1>",
        f"<p>{escape(texts.flows(found.flows))}.</p>",
        _agreement(found),
        _in_sample(found),
        "<h2>Equity</h2>",
        f"<p>{escape(texts.measures(found.measures))}.</p>",
        f'<div class="plots">{_equity(found)}{_drawdown(found)}</div>',
        "<h2>Closed trades</h2>",
    ]
    if not found.total.trades:
        parts.append("<p>No trade closed in this span.</p>")
    named = (
        ("By day", found.by_day),
        ("By symbol", found.by_symbol),
        ("By model version", found.by_model),
        ("By exit", found.by_exit),
        ("By hour of the exit, UTC", found.by_hour),
    )
    for title, rows in named:
        if rows:
            parts += [f"<h3>{title}</h3>", _bars(rows), _groups([*rows, found.total])]
    parts += [_trades(found.trades), _predictions(found.predictions)]
    parts += [_services(found.services), _alerts(found.alerts)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>Report {escape(span)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>"
    )


def _agreement(found: pb.GetReportResponse) -> str:
    differing = [c for c in found.checks if not c.agrees]
    if not found.checks_made:
        return '<p class="no">The ledger was not compared with the wallet in this span yet.</p>'
    if not differing:
        return (
            "<p>Ledger and wallet were equal to the cent in all"
            f" {found.checks_made} comparisons.</p>"
        )
    rows = [
        (
            f"{c.account}, {clock(c.since)} to {clock(c.until)}",
            c.wallet_change,
            c.booked,
            c.difference,
            c.realized_difference,
        )
        for c in differing
    ]
    heads = ("span", "wallet", "ledger", "difference", "gross against the exchange's")
    return f'<p class="no">Ledger and wallet differ.</p>{_table(heads, rows)}'


def _in_sample(found: pb.GetReportResponse) -> str:
    if not found.total.in_sample:
        return ""
    return (
        '<p class="no">Some of these trades lie in the range that the models were trained on:'
        " their profit proves nothing.</p>"
    )


def _days(found: pb.GetReportResponse, point: pb.EquityPoint) -> float:
    return (point.time.seconds - found.since.seconds) / _DAY_SECONDS


def _equity(found: pb.GetReportResponse) -> str:
    points = _thinned(found.equity)
    line = [(_days(found, p), float(p.equity)) for p in points]
    return charts.lines({"equity": line} if line else {}, "days", "equity, USD")


def _drawdown(found: pb.GetReportResponse) -> str:
    peak, line = 0.0, []
    for point in found.equity:
        if peak > 0:
            line.append((_days(found, point), min(0.0, float(point.low) / peak - 1) * 100))
        peak = max(peak, float(point.high))
    return charts.lines({"drawdown": line} if line else {}, "days", "drawdown, %")


def _thinned(points: Sequence[pb.EquityPoint]) -> list[pb.EquityPoint]:
    step = -(-len(points) // _MOST_POINTS) or 1
    last = [points[-1]] if points and (len(points) - 1) % step else []
    return [*points[::step], *last]


def _bars(rows: Iterable[pb.ReportGroup]) -> str:
    return charts.bars({row.name: float(row.net_pnl or 0) for row in rows}, "net profit, USD")


def _groups(rows: Iterable[pb.ReportGroup]) -> str:
    return _table(
        _HEADS,
        [
            (
                row.name,
                str(row.trades),
                texts.share(row, "win_rate"),
                f"{texts.share(row, 'win_rate_low')} to {texts.share(row, 'win_rate_high')}",
                _money(row.gross_pnl),
                _money(row.commission),
                _money(row.funding),
                _money(row.net_pnl),
                texts.number(row, "profit_factor"),
                texts.number(row, "average_r"),
                texts.number(row, "slippage_bp"),
                _money(row.adverse_usd),
                _money(row.favourable_usd),
                texts.duration(row.holding_seconds),
            )
            for row in rows
        ],
    )


def _trades(rows: Sequence[pb.ReportTrade]) -> str:
    if not rows:
        return ""
    heads = (
        "closed", "symbol", "side", "net", "R", "slippage bp", "MAE", "MFE", "held", "exit",
        "model",
    )  # fmt: skip
    body = [
        (
            clock(row.closed_time),
            row.symbol,
            row.side,
            _money(row.net_pnl),
            texts.number(row.measures, "r"),
            texts.number(row.measures, "slippage_bp"),
            _money(row.measures.adverse_usd),
            _money(row.measures.favourable_usd),
            texts.duration(row.measures.holding_seconds),
            row.exit_reason,
            row.model_version,
        )
        for row in rows
    ]
    return f"<h2>The last {len(rows)} trades</h2>{_table(heads, body)}"


def _predictions(rows: Sequence[pb.PredictionCount]) -> str:
    if not rows:
        return ""
    body = [(r.model_version, r.action, f"{r.predictions:,}") for r in rows]
    return f"<h2>Predictions</h2>{_table(('model version', 'advice', 'candles'), body)}"


def _services(rows: Sequence[pb.ServiceHistory]) -> str:
    if not rows:
        return ""
    body = [
        (r.service, r.status, str(r.changes), texts.duration(r.unhealthy_seconds), r.last_reason)
        for r in rows
    ]
    heads = ("service", "now", "changes", "not healthy for", "last reason")
    return f"<h2>Services</h2>{_table(heads, body)}"


def _alerts(rows: Sequence[pb.AlertCount]) -> str:
    if not rows:
        return ""
    body = [(r.type, r.severity, str(r.count)) for r in rows]
    return f"<h2>Risk alerts</h2>{_table(('kind', 'severity', 'count'), body)}"


def _money(amount: str) -> str:
    if not amount:
        return texts.NOT_GIVEN
    return money(amount).plain


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        f"<tr>{''.join(f'<td{_sign(cell)}>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _sign(cell: str) -> str:
    return ' class="minus"' if cell.startswith("-") and len(cell) > 1 else ""
