"""A market and an exchange that are functions of a seed, and a core that is told of them.

What fills depends on the market, on when an order was decided and on its id, never on how often or
when the core was told of anything, so one story can be told in many ways.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from services.exec_risk import execution_rows, rows
from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.reconciling.reconcile import START
from services.exec_risk.core.state import Book
from services.exec_risk.core.trader import Event, Trader
from services.lab.simulation.store import Rows, apply, read
from services.trade import ids
from services.trade.candle import Candle
from services.trade.order import Fill, Order, OrderState, OrderType, Side, TimeInForce
from tests.unit.exec_risk.account_desk import MINUTE, filters_of, signal_of
from tests.unit.exec_risk.account_desk import START as BEGIN

D = Decimal
ZERO = D(0)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
POINTS_A_CANDLE = 3
FUNDS = D(10_000)
_FEE = D("0.0005")


@dataclass(slots=True)
class Resting:
    """An order as the exchange has it."""

    order: Order
    since: int
    """Market time of its decision: it takes effect at the next point."""


class Exchange:
    """Fills by the market; answers at once, sometimes with a lost reply."""

    def __init__(self, *, loses: bool) -> None:
        self.loses = loses
        self.time = BEGIN
        self.prices = dict.fromkeys(SYMBOLS, D(100))
        self.orders: dict[str, Resting] = {}
        self.fills: list[Fill] = []
        self.wallet = FUNDS
        self.held = dict.fromkeys(SYMBOLS, ZERO)
        self.cost = dict.fromkeys(SYMBOLS, ZERO)

    def place(self, order: Order) -> ex.RequestOutcome:
        """Take an order; by its id the request or the reply may be lost, once."""
        name = order.client_order_id
        fate = int(ids.digest("fate", name, length=4), 16) % 8 if self.loses else 7
        if name in self.orders:
            return ex.Unknown("-4116 repeated id")
        if fate == 0 and order.version == 1 and not order.type.conditional:
            return ex.Unknown("request lost")
        self.orders[name] = Resting(replace(order, state=OrderState.ACCEPTED), order.decided_time)
        return ex.Unknown("reply lost") if fate == 1 else ex.Accepted(self.report(name))

    def cancel(self, name: str) -> ex.RequestOutcome:
        """End an order that rests."""
        found = self.orders.get(name)
        if found is None or found.order.state.final:
            return ex.Refused("-2011", "unknown order")
        found.order = replace(found.order, state=OrderState.CANCELED)
        return ex.Accepted(self.report(name))

    def report(self, name: str) -> ex.OrderReport:
        """Return what it says of an order."""
        order = self.orders[name].order
        return ex.OrderReport(
            name,
            "x" + name,
            order.symbol,
            order.side,
            order.state,
            order.quantity,
            order.filled_quantity,
            order.average_price,
            self.time,
            order.reduce_only,
            order.type.conditional,
            order.trigger_price,
        )

    def reading(self) -> ex.ExchangeSnapshot:
        """Return everything that it holds."""
        positions = tuple(
            ex.ExchangePosition(s, q, self.prices[s], self.prices[s], ZERO)
            for s, q in self.held.items()
            if q
        )
        account = ex.AccountReport(self.wallet, self.wallet, self.time, positions)
        resting = tuple(self.report(n) for n, r in self.orders.items() if not r.order.state.final)
        return ex.ExchangeSnapshot(account, resting, tuple(self.fills), ())

    def reach(self, time: int, prices: dict[str, Decimal]) -> list[ex.ExchangeEvent]:
        """Move to a point; return the news of the user stream."""
        self.time, self.prices = time, prices
        news: list[ex.ExchangeEvent] = []
        for name in sorted(self.orders, key=lambda n: (self.orders[n].since, n)):
            resting = self.orders[name]
            if not resting.order.state.final and resting.since < time:
                news += self._match(name, resting)
        return news

    def _match(self, name: str, resting: Resting) -> list[ex.ExchangeEvent]:
        order, price = resting.order, self.prices[resting.order.symbol]
        if not _crossed(order, price):
            if order.type is OrderType.LIMIT and order.time_in_force is not TimeInForce.GTC:
                return self._end(name)
            return []
        quantity = order.remaining
        if order.reduce_only:
            quantity = min(quantity, max(-self.held[order.symbol] * order.side.sign, ZERO))
        elif not order.filled_quantity and int(ids.digest("part", name, length=4), 16) % 3 == 0:
            quantity = filters_of(order.symbol).floor_quantity(quantity / 3) or quantity
        if not quantity:
            return self._end(name)
        fill = self._fill(order, quantity, price)
        filled = order.filled_quantity + quantity
        resting.order = replace(
            order,
            filled_quantity=filled,
            filled_cost=order.filled_cost + quantity * price,
            state=OrderState.FILLED if filled == order.quantity else OrderState.PARTIALLY_FILLED,
        )
        news: list[ex.ExchangeEvent] = [ex.FillReport(fill), self.report(name)]
        left = resting.order.state is OrderState.PARTIALLY_FILLED
        return news + (self._end(name) if left and order.reduce_only else [])

    def _end(self, name: str) -> list[ex.ExchangeEvent]:
        resting = self.orders[name]
        resting.order = replace(resting.order, state=OrderState.EXPIRED)
        return [self.report(name)]

    def _fill(self, order: Order, quantity: Decimal, price: Decimal) -> Fill:
        symbol, signed = order.symbol, quantity * order.side.sign
        held, pnl = self.held[symbol], ZERO
        if held * signed < 0:
            entry = self.cost[symbol] / held
            pnl = ((price - entry) * -signed).quantize(D("0.00000001"))
            self.cost[symbol] = self.cost[symbol] + signed * entry if held + signed else ZERO
        else:
            self.cost[symbol] += signed * price
        self.held[symbol] = held + signed
        paid = (price * quantity * _FEE).quantize(D("0.00000001"))
        self.wallet += pnl - paid
        trade = ids.digest("trade", order.client_order_id, self.time, length=16)
        fill = Fill(
            trade, order.account, symbol, order.client_order_id, order.side, price, quantity,
            paid, pnl, False, self.time, "x" + order.client_order_id,
        )  # fmt: skip
        self.fills.append(fill)
        return fill


def _crossed(order: Order, price: Decimal) -> bool:
    if order.trigger_price is not None:
        stops = order.type is OrderType.STOP_MARKET
        beyond = (price - order.trigger_price) * order.side.sign
        return beyond >= 0 if stops else beyond <= 0
    return order.price is None or (price - order.price) * order.side.sign <= 0


class Theatre:
    """Tells a seed's story to a core; `extras` says how often each disturbance happens."""

    def __init__(self, policy: Policy, seed: int, extras: dict[str, float], other: int) -> None:
        self.market = random.Random(seed)  # noqa: S311 - a seeded test
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
            if self.dice.random() < share:
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
        self._tell(inputs.PricesHeard(heard))
        self._tell(inputs.FiltersRead({s: filters_of(s) for s in SYMBOLS}))
        self._tell(inputs.SnapshotRead(self.exchange.reading(), START))

    def _tell(self, event: Event) -> None:
        waiting = deque((event,))
        while waiting:
            told = waiting.popleft()
            effects = self.trader.handle(told, getattr(told, "time", 0))
            self.effects += effects
            for effect in effects:
                if isinstance(effect, fx.ACTIONS):
                    waiting.extend(self._answers(effect))
                else:
                    apply(self.rows, effect)

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
