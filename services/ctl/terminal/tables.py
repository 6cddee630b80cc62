"""Tables of processes, positions, orders and profit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from quantum.ai.v1.signal_pb2 import Prediction, Signal
from quantum.ai.v1.universe_pb2 import Opportunity
from quantum.analytics.v1.analytics_service_pb2 import Performance
from quantum.exec_risk.v1.trading_pb2 import Account, Order, Position
from rich.table import Table
from rich.text import Text

from services.ctl.gateway_client import word

IN_SAMPLE = "in sample"
"""Stands beside every profit made on data that the models were trained with."""
COLOURS = {
    "ready": "green",
    "live": "yellow",
    "starting": "yellow",
    "waiting": "dim",
    "restarting": "red",
    "failed": "bold red",
    "stopping": "yellow",
    "stopped": "dim",
}


def processes(rows: Sequence[dict[str, Any]], title: str = "") -> Table:
    """Return process, state, address, restarts."""
    table = _table(title, "process", "state", "address", "pid", "restarts", "")
    for row in rows:
        state = Text(row["state"], COLOURS.get(row["state"], ""))
        note = ("adopted " if row["adopted"] else "") + row["reason"]
        pid = str(row["pid"] or "")
        table.add_row(row["name"], state, row["address"], pid, str(row["restarts"]), note[:70])
    return table


def alerts(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return a line for each process that a person must look at."""
    return [f"ALERT {row['name']}: {row['alert']}" for row in rows if row["alert"]]


def positions(rows: Iterable[Position], title: str = "") -> Table:
    """Return open and closed positions."""
    columns = ("symbol", "side", "quantity", "entry", "mark/exit", "stop", "target", "profit", "")
    table = _table(title, *columns)
    for row in rows:
        held = row.status == "open"
        profit = row.unrealized_pnl if held else net(row)
        note = IN_SAMPLE if row.in_sample else ""
        table.add_row(
            row.symbol,
            word(row, "side"),
            row.quantity if held else "closed",
            short(row.entry_price),
            short(row.mark_price if held else row.exit_price),
            short(row.stop_loss_price),
            short(row.take_profit_price),
            money(profit),
            note if held else f"{word(row, 'exit_reason')} {note}",
        )
    return table


def orders(rows: Iterable[Order], title: str = "") -> Table:
    """Return orders."""
    table = _table(title, "time", "symbol", "side", "purpose", "quantity", "price", "state")
    for row in rows:
        price = row.average_price or row.trigger_price or row.price
        table.add_row(
            clock(row.updated_time),
            row.symbol,
            word(row, "side"),
            word(row, "purpose"),
            row.quantity,
            short(price),
            word(row, "state"),
        )
    return table


def signals(rows: Iterable[Signal], title: str = "") -> Table:
    """Return signals that were made."""
    table = _table(title, "time", "symbol", "advice", "confidence", "price", "model", "")
    for row in rows:
        table.add_row(
            clock(row.candle_close_time),
            row.symbol,
            word(row, "action"),
            f"{row.confidence:.3f}",
            short(row.price),
            row.model_version,
            IN_SAMPLE if row.in_sample else "",
        )
    return table


def predictions(rows: Iterable[Prediction], title: str = "") -> Table:
    """Return what the models said last of each symbol."""
    table = _table(title, "time", "symbol", "advice", "confidence", "signal / why none")
    for row in rows:
        table.add_row(
            clock(row.candle_close_time),
            row.symbol,
            word(row, "action"),
            f"{row.confidence:.3f}",
            row.signal_id or row.hold_reason,
        )
    return table


def opportunities(rows: Iterable[Opportunity], title: str = "") -> Table:
    """Return the symbols that scored best, with their marks."""
    marks = ("trend", "volatility", "liquidity", "regime", "win_rate", "spread", "noise")
    table = _table(title, "symbol", "score", "grade", *marks)
    for row in rows:
        shown = [f"{row.marks[mark]:.2f}" if mark in row.marks else "" for mark in marks]
        table.add_row(row.symbol, f"{row.score:.3f}", row.grade, *shown)
    return table


def performance(rows: Iterable[Performance], title: str = "") -> Table:
    """Return profit by day."""
    columns = ("day", "gross", "commission", "funding", "net", "trades", "won", "")
    table = _table(title, *columns)
    for row in rows:
        table.add_row(
            row.day,
            money(row.gross_pnl),
            money(row.commission),
            money(row.funding),
            money(row.net_pnl),
            str(row.trades),
            f"{row.win_rate:.0%}",
            IN_SAMPLE if row.in_sample else "",
        )
    return table


def certificates(rows: Iterable[dict[str, Any]], title: str = "") -> Table:
    """Return identities, what their certificates say, and when these expire."""
    table = _table(title, "name", "subject", "expires", "hours left", "issuer")
    for row in rows:
        left = Text(f"{row['hours_left']:.1f}", "red" if row["hours_left"] < 1 else "")
        table.add_row(row["name"], row["subject"], row["not_after"], left, row["issuer"])
    return table


def account_line(account: Account) -> str:
    """Return the account in one line."""
    note = f" ({IN_SAMPLE})" if account.in_sample else ""
    return (
        f"market time {clock(account.time)}  equity {money(account.equity).plain}"
        f"  today {money(account.daily_pnl).plain}{note}  trades {account.daily_trades}"
        f"  open {account.open_positions}  {word(account, 'trading_state')}"
    )


def net(position: Position) -> str:
    """Return realised profit after commission and funding, as far as all three are numbers."""
    try:
        parts = (position.realized_pnl or "0", position.commission or "0", position.funding or "0")
        gross, commission, funding = map(Decimal, parts)
    except InvalidOperation:
        return position.realized_pnl
    return str(gross - commission + funding)


def money(amount: str) -> Text:
    """Return an amount to the cent, green or red."""
    if not amount:
        return Text("")
    value = Decimal(amount)
    return Text(f"{value:,.2f}", "green" if value > 0 else "red" if value < 0 else "")


def short(price: str) -> str:
    """Return a price with at most eight significant digits."""
    return f"{Decimal(price):.8g}" if price else ""


def clock(time: Timestamp) -> str:
    """Return market time, UTC."""
    moment: datetime = time.ToDatetime()
    return f"{moment:%m-%d %H:%M:%S}" if time.seconds else ""


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title or None, title_justify="left", expand=False, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column != "", overflow="ellipsis")
    return table
