"""A market that is a function of a seed, and a core that is told of it and of its exchange.

What fills depends on the market, on when an order was decided and on its id, never on how often or
when the core was told of anything, so one story can be told in many ways.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.reconciling.reconcile import START
from services.exec_risk.core.state import Book
from services.exec_risk.core.trader import Event, Trader
from services.exec_risk.database import execution_rows, rows
from services.lab.simulation.rows import Rows, apply, read
from services.trade.candle import Candle
from services.trade.order import Side
from tests.unit.exec_risk.account_desk import MINUTE, filters_of, signal_of
from tests.unit.exec_risk.account_desk import START as BEGIN
from tests.unit.exec_risk.told_exchange import SYMBOLS, Exchange
from tests.unit.exec_risk.told_people import People

D = Decimal
POINTS_A_CANDLE = 3
CRASH = "crash"
"""Name of the disturbance between a commit and what it allows to be sent."""
POINTS_A_FUNDING = 10


class Theatre:
    """Tells a seed's story to a core; `extras` says how often each disturbance happens."""

    def __init__(self, policy: Policy, seed: int, extras: dict[str, float], other: int) -> None:
        self.market = random.Random(seed)  # noqa: S311 - a seeded test
        self.people = People(seed)
        self.dice = random.Random(other)  # noqa: S311 - a seeded test
        self.extras = extras
        self.policy = policy
        self.exchange = Exchange(loses=bool(seed % 2))
        self.rows = Rows()
        self.effects: list[fx.Effect] = []
        self.done: list[str] = []
        """Disturbances that happened."""
        self._told: list[Event] = []
        self._heard: tuple[list[Event], list[Event], list[Event]] = ([], [], [])
        """Candles, prices and point that were last told."""
        self._begin(Book(policy))

    def play(self, points: int) -> None:
        """Tell so many points of the market."""
        for number in range(1, points + 1):
            self._point(number)

    def _point(self, number: int) -> None:
        time = BEGIN + number * MINUTE // POINTS_A_CANDLE
        closes = number % POINTS_A_CANDLE == 0
        before = self.exchange.prices
        after = {s: self._moved(p) for s, p in before.items()}
        news = self.exchange.reach(time, after)
        if number % POINTS_A_FUNDING == 0:
            news += self.exchange.settle()
        for told in news:
            self._disturbed(told)
        candles: list[Event] = [ex.CandleClosed(c) for c in self._candles(time, after) if closes]
        prices: list[Event] = [
            ex.PriceReport(s, time, p, p - D("0.01"), p + D("0.01"), D("0.0001"))
            for s, p in after.items()
        ]
        point: list[Event] = [ex.PointReached(number, time, SYMBOLS if closes else ())]
        for place, events in enumerate((candles, prices, point)):
            self._heard = tuple(events if n == place else h for n, h in enumerate(self._heard))  # type: ignore[assignment]
            for event in events:
                self._disturbed(event)
        if closes:
            answers = tuple(
                inputs.Prediction(s, "1m", time, self._signal(s, time)) for s in SYMBOLS
            )
            self._disturbed(inputs.PredictionsArrived(answers))
        command = self.people.ask(f"ask {number}", self._resting())
        if command is not None:
            self.people.told(command)
            self._tell(command)

    def _resting(self) -> list[str]:
        """Return the ids of orders that an execution has on the exchange."""
        live = self.trader.book.live_orders()
        return sorted(o.client_order_id for o in live if o.execution_id)

    def _moved(self, price: Decimal) -> Decimal:
        step = self.market.choice((-30, -12, -7, -3, -1, 0, 1, 3, 7, 12, 30))
        return max(price + D(step) / 100, D(50))

    def _candles(self, time: int, closes: dict[str, Decimal]) -> Iterable[Candle]:
        for symbol, close in closes.items():
            high, low = close + D("0.05"), close - D("0.05")
            yield Candle("paper", symbol, "1m", time - MINUTE, close, high, low, close, D(5000))

    def _signal(self, symbol: str, time: int) -> inputs.Signal | None:
        chance = self.market.random()
        side = self.market.choice(list(Side))
        return signal_of(symbol, side, time, 0.5 + chance / 2) if chance < 0.5 else None

    def _disturbed(self, event: Event) -> None:
        self._tell(event)
        self._told.append(event)
        for kind, share in sorted(self.extras.items()):
            if kind != CRASH and self.dice.random() < share:
                self.done.append(kind)
                getattr(self, f"_{kind}")()

    def _tick(self) -> None:
        self._tell(inputs.Tick())

    def _reading(self) -> None:
        known = {(f.symbol, f.trade_id) for f in self.exchange.fills}
        if known == set(self.rows.fills):
            cause = self.dice.choice(("verify", "verify again", "user stream came up"))
            self._tell(inputs.SnapshotRead(self.exchange.reading(), cause))

    def _twice(self) -> None:
        self._tell(self.dice.choice(self._told[-12:]))

    def _restart(self) -> None:
        """Lose all memory, and be told again as a term that begins."""
        self._begin(read(stored(self.rows), self.policy))
        candles, prices, point = self._heard
        newer = bool(point) and point[0].time > self.trader.book.last_round  # type: ignore[union-attr]
        for event in [*candles, *prices, *point] if newer else prices:
            self._tell(event)

    def _begin(self, book: Book) -> None:
        self.trader = Trader(book)
        book.time = max(book.time, self.exchange.time)
        heard = tuple(e for e in self._heard[1] if isinstance(e, ex.PriceReport))
        filters = {s: filters_of(s) for s in SYMBOLS}
        self._tell(inputs.PricesHeard(heard), inputs.FiltersRead(filters))
        self._tell(inputs.SnapshotRead(self.exchange.reading(), START))

    def _tell(self, *events: Event) -> None:
        """Hand in what is one step of the shell: decided, committed, and only then sent."""
        waiting = deque((events,))
        while waiting:
            effects = [
                effect
                for told in waiting.popleft()
                for effect in self.trader.handle(told, getattr(told, "time", 0))
            ]
            self.effects += effects
            changes, actions = fx.parted(effects)
            for change in changes:
                apply(self.rows, change)
            if actions and self.dice.random() < self.extras.get(CRASH, 0.0):
                # nothing of it is sent, and no answer that waited is ever heard
                self.done.append(CRASH)
                self._restart()
                return
            waiting.extend((answer,) for action in actions for answer in self._answers(action))

    def _answers(self, action: fx.Action) -> list[Event]:
        if isinstance(action, fx.Place):
            outcome = self.exchange.place(action.order)
            return [inputs.PlaceAnswered(action.order.client_order_id, outcome)]
        if isinstance(action, fx.Cancel):
            name = action.order.client_order_id
            return [inputs.CancelAnswered(name, self.exchange.cancel(name))]
        if isinstance(action, fx.Resolve):
            name = action.order.client_order_id
            there = self.exchange.report(name) if name in self.exchange.orders else None
            return [inputs.OrderFound(name, there)]
        if isinstance(action, fx.SetLeverage):
            self.exchange.leverage[action.symbol] = action.leverage
            return [inputs.LeverageAnswered(action.symbol, action.leverage)]
        return [inputs.SnapshotRead(self.exchange.reading(), action.cause)]


def stored(kept: Rows) -> Rows:
    """Return the rows as they come back out of the schema's columns."""
    account = "main"
    return replace(
        kept,
        orders={n: rows.order_of(_row(rows.ORDER_COLUMNS, rows.order_values(o)))
                for n, o in kept.orders.items()},
        positions={n: rows.position_of(_row(rows.POSITION_COLUMNS, rows.position_values(p)))
                   for n, p in kept.positions.items()},
        plans={n: rows.plan_of(_row(rows.PLAN_COLUMNS, rows.plan_values(p, account)))
               for n, p in kept.plans.items()},
        progress={n: rows.progress_of(_row(rows.PROGRESS_COLUMNS, rows.progress_values(p, account)))
                  for n, p in kept.progress.items()},
        executions={n: execution_rows.execution_of(_row(execution_rows.EXECUTION_COLUMNS,
                                                        execution_rows.execution_values(e)))
                    for n, e in kept.executions.items()},
        volumes={n: execution_rows.volume_of(_row(execution_rows.VOLUME_COLUMNS,
                                                  execution_rows.volume_values(v, account)))
                 for n, v in kept.volumes.items()},
    )  # fmt: skip


def _row(columns: str, values: tuple[Any, ...]) -> dict[str, Any]:
    """Return what PostgreSQL gives back: documents as text, and numbers that went as text."""
    names = columns.replace(" ", "").split(",")
    row = dict(zip(names, values, strict=True))
    if "schedule" in row:
        row["schedule"] = json.dumps(row["schedule"])
    if "hours" in row:
        row["hours"] = [Decimal(volume) for volume in row["hours"]]
    return row
