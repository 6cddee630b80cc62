"""The journal: SQLite, so that after a kill the venue is the same exchange.

Requests are written as they came, with the step at which they came; the engine replays them from
the last snapshot of its live state. Orders that ended, trades and income are kept as rows, since
the live state has no history.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.venue.core.events import ConditionalEvent, IncomeEvent, OrderEvent, VenueEvent
from services.venue.core.orders import (
    AlgoStatus,
    Conditional,
    Income,
    Trade,
    VenueOrder,
)
from services.venue.core.snapshot import pack, unpack

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS inputs (
    seq INTEGER PRIMARY KEY, step INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS moments (step INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS snapshots (
    step INTEGER PRIMARY KEY, seq INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
    order_id INTEGER PRIMARY KEY, client_id TEXT NOT NULL, symbol TEXT NOT NULL,
    time INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS orders_by_client ON orders (client_id, time);
CREATE INDEX IF NOT EXISTS orders_by_symbol ON orders (symbol, time);
CREATE TABLE IF NOT EXISTS conditionals (
    algo_id INTEGER PRIMARY KEY, client_id TEXT NOT NULL, symbol TEXT NOT NULL,
    time INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS conditionals_by_client ON conditionals (client_id, time);
CREATE TABLE IF NOT EXISTS trades (
    place INTEGER PRIMARY KEY, trade_id INTEGER UNIQUE NOT NULL, order_id INTEGER NOT NULL,
    symbol TEXT NOT NULL, time INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS trades_by_symbol ON trades (symbol, time);
CREATE TABLE IF NOT EXISTS income (
    place INTEGER PRIMARY KEY, income_id INTEGER UNIQUE NOT NULL, symbol TEXT NOT NULL,
    type TEXT NOT NULL, time INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS income_by_time ON income (time);
"""
_CLOSED_ALGO = (AlgoStatus.FINISHED, AlgoStatus.CANCELED, AlgoStatus.REJECTED)


class JournalError(RuntimeError):
    """The journal belongs to another market or account; the text says which."""


@dataclass(frozen=True, slots=True)
class Input:
    """One accepted request."""

    seq: int
    step: int
    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """Which rows are asked for: market times from `since` to `until`, at most `limit`."""

    since: int
    until: int
    limit: int
    newest: bool = False
    """True: the last rows of the span; False: the first ones."""

    @property
    def times(self) -> tuple[int, int]:
        """First and last market time."""
        return self.since, self.until


class Journal:
    """One venue's SQLite file. Every method returns after its transaction is committed."""

    def __init__(self, path: Path | None, identity: Mapping[str, str]) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(str(path) if path else ":memory:", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._check(identity, path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add_input(self, step: int, kind: str, body: Mapping[str, Any]) -> None:
        """Write an accepted request."""
        self._db.execute(
            "INSERT INTO inputs (step, kind, body) VALUES (?, ?, ?)",
            (step, kind, json.dumps(body)),
        )

    def add_step(
        self,
        step: int,
        events: Iterable[VenueEvent],
        *,
        moment: Mapping[str, Any] | None = None,
        snapshot: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a step and what it did; `moment` for markets that cannot be had again."""
        db = self._db
        db.execute("BEGIN")
        db.execute("INSERT OR REPLACE INTO meta VALUES ('step', ?)", (str(step),))
        for event in events:
            self._add_event(event)
        if moment is not None:
            db.execute("INSERT INTO moments VALUES (?, ?)", (step, json.dumps(moment)))
        if snapshot is not None:
            self._add_snapshot(step, snapshot)
        db.execute("COMMIT")

    @property
    def step(self) -> int:
        """Number of the last written step; 0 in a new journal."""
        row = self._db.execute("SELECT value FROM meta WHERE key = 'step'").fetchone()
        return int(row[0]) if row else 0

    def last_snapshot(self) -> tuple[int, dict[str, Any] | None]:
        """Return the last input that a snapshot holds, and the snapshot if there is one."""
        row = self._db.execute(
            "SELECT seq, body FROM snapshots ORDER BY step DESC LIMIT 1"
        ).fetchone()
        return (row[0], json.loads(row[1])) if row else (0, None)

    def inputs_after(self, seq: int) -> list[Input]:
        """Return the requests that came after an input, in order."""
        rows = self._db.execute(
            "SELECT seq, step, kind, body FROM inputs WHERE seq > ? ORDER BY seq", (seq,)
        )
        return [Input(n, step, kind, json.loads(body)) for n, step, kind, body in rows]

    def moment(self, step: int) -> dict[str, Any] | None:
        """Return what was written of a step's market."""
        row = self._db.execute("SELECT body FROM moments WHERE step = ?", (step,)).fetchone()
        return dict(json.loads(row[0])) if row else None

    def order(self, symbol: str, *, order_id: int = 0, client_id: str = "") -> VenueOrder | None:
        """Return the ended order with this id, or the last one with this client id."""
        column, value = ("order_id", order_id) if order_id else ("client_id", client_id)
        row = self._db.execute(
            f"SELECT body FROM orders WHERE {column} = ? AND symbol = ?"  # noqa: S608 - own names
            " ORDER BY time DESC LIMIT 1",
            (value, symbol),
        ).fetchone()
        return unpack(VenueOrder, json.loads(row[0])) if row else None

    def orders(self, symbol: str, span: Span) -> list[VenueOrder]:
        """Return the ended orders of a symbol by the time they were decided, oldest first."""
        rows = self._rows(
            "orders", "symbol = ? AND time BETWEEN ? AND ?", (symbol, *span.times), span
        )
        return [unpack(VenueOrder, row) for row in rows]

    def conditional(self, *, algo_id: int = 0, client_id: str = "") -> Conditional | None:
        """Return the ended conditional order with this id, or the last with this client id."""
        column, value = ("algo_id", algo_id) if algo_id else ("client_id", client_id)
        row = self._db.execute(
            f"SELECT body FROM conditionals WHERE {column} = ?"  # noqa: S608 - own names
            " ORDER BY time DESC LIMIT 1",
            (value,),
        ).fetchone()
        return unpack(Conditional, json.loads(row[0])) if row else None

    def conditionals(self, symbol: str, limit: int) -> list[Conditional]:
        """Return the last ended conditional orders of a symbol, oldest first."""
        rows = self._db.execute(
            "SELECT body FROM conditionals WHERE symbol = ? ORDER BY time DESC LIMIT ?",
            (symbol, limit),
        ).fetchall()
        return [unpack(Conditional, json.loads(row[0])) for row in reversed(rows)]

    def trades(
        self, symbol: str, span: Span, *, order_id: int = 0, first: int = 0
    ) -> list[Trade] | None:
        """Return a symbol's trades, oldest first.

        `order_id` 0 means of all orders; `first` is the id of the trade to begin with, 0 for the
        oldest. None when no trade has that id: ids do not grow, so none can be next to it.
        """
        place = self._place_of(first)
        if place is None:
            return None
        rows = self._rows(
            "trades",
            "symbol = ? AND (? = 0 OR order_id = ?) AND time BETWEEN ? AND ? AND place >= ?",
            (symbol, order_id, order_id, *span.times, place),
            span,
        )
        return [unpack(Trade, row) for row in rows]

    def _place_of(self, trade_id: int) -> int | None:
        if not trade_id:
            return 0
        asked = "SELECT place FROM trades WHERE trade_id = ?"
        row = self._db.execute(asked, (trade_id,)).fetchone()
        return row[0] if row else None

    def income(self, span: Span, *, symbol: str = "", kind: str = "") -> list[Income]:
        """Return entries of the income log, oldest first; empty symbol or kind means all."""
        rows = self._rows(
            "income",
            "(? = '' OR symbol = ?) AND (? = '' OR type = ?) AND time BETWEEN ? AND ?",
            (symbol, symbol, kind, kind, *span.times),
            span,
        )
        return [unpack(Income, row) for row in rows]

    def _rows(
        self, table: str, where: str, values: tuple[object, ...], span: Span
    ) -> list[dict[str, Any]]:
        direction = "DESC" if span.newest else "ASC"
        order = "time {0}, order_id {0}" if table == "orders" else "place {0}"
        rows = self._db.execute(
            f"SELECT body FROM {table} WHERE {where}"  # noqa: S608 - own names
            f" ORDER BY {order.format(direction)} LIMIT ?",
            (*values, span.limit),
        ).fetchall()
        found = [json.loads(row[0]) for row in rows]
        return found[::-1] if span.newest else found

    def _check(self, identity: Mapping[str, str], path: Path | None) -> None:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
        wanted = dict(identity)
        if row is None:
            self._db.execute("INSERT INTO meta VALUES ('identity', ?)", (json.dumps(wanted),))
            return
        found: dict[str, str] = json.loads(row[0])
        for key, value in wanted.items():
            if found.get(key) != value:
                self._db.close()
                raise JournalError(
                    f"{path}: this journal belongs to {key} {found.get(key)}, not {value};"
                    " use another journal or remove it"
                )

    def _add_snapshot(self, step: int, body: Mapping[str, Any]) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO snapshots VALUES"
            " (?, (SELECT coalesce(max(seq), 0) FROM inputs), ?)",
            (step, json.dumps(body)),
        )
        self._db.execute("DELETE FROM snapshots WHERE step < ?", (step,))

    def _add_event(self, event: VenueEvent) -> None:
        if isinstance(event, OrderEvent):
            if event.trade is not None:
                trade = event.trade
                self._db.execute(
                    "INSERT INTO trades (trade_id, order_id, symbol, time, body)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (trade.trade_id, trade.order_id, trade.symbol, trade.time, _text(trade)),
                )
            if not event.order.status.open:
                order = event.order
                self._db.execute(
                    "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?)",
                    (
                        order.order_id,
                        order.client_id,
                        order.symbol,
                        order.decided_time,
                        _text(order),
                    ),
                )
        elif isinstance(event, ConditionalEvent) and event.order.status in _CLOSED_ALGO:
            algo = event.order
            self._db.execute(
                "INSERT OR REPLACE INTO conditionals VALUES (?, ?, ?, ?, ?)",
                (algo.algo_id, algo.client_id, algo.symbol, algo.decided_time, _text(algo)),
            )
        elif isinstance(event, IncomeEvent):
            entry = event.income
            self._db.execute(
                "INSERT INTO income (income_id, symbol, type, time, body) VALUES (?, ?, ?, ?, ?)",
                (entry.income_id, entry.symbol, entry.type, entry.time, _text(entry)),
            )


def _text(value: Any) -> str:
    return json.dumps(pack(value))
