"""An exchange that a test drives step by step: it answers late, in part, or not at all."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from decimal import Decimal

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Gates, Policy
from services.exec_risk.core.reconciling.reconcile import START
from services.exec_risk.core.trader import Event, Trader
from services.trade.execution import Execution
from services.trade.order import Order, OrderPurpose, OrderState, OrderType, Side, TimeInForce
from tests.unit.exec_risk.account_desk import MINUTE, Desk, fill_of, filters_of, report, signal_of
from tests.unit.exec_risk.memory_truth import MemoryStore, MemoryTruth

D = Decimal
SYMBOL = "BTCUSDT"
ZERO = D(0)


class Street:
    """One symbol's orders as the exchange has them, and the desk that is told of them."""

    def __init__(self, policy: Policy, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - a seeded test
        self.policy = policy
        self.desk = Desk(policy, (SYMBOL,))
        self.orders: dict[str, Order] = {}
        self.fills: list[ex.FillReport] = []
        self.held = ZERO
        self.price = D(100)
        self.unanswered: list[Order] = []
        self.cancels: list[Order] = []
        self.questions: list[Order] = []
        self.queue: list[Event] = []
        self.truth = MemoryTruth()
        self.loop = asyncio.new_event_loop()
        self.store = MemoryStore(self.truth, self.dice, faults=0.0)

    def tell(self, event: Event) -> None:
        """Hand in an event; keep what it changed, take in what it asks for."""
        self._take(self.desk.tell(event))

    def signal(self, side: Side = Side.BUY) -> None:
        """Close a candle with a signal."""
        before = len(self.desk.effects)
        self.desk.round(signal_of(SYMBOL, side, self.desk.time), close=self.price)
        self._take(self.desk.effects[before:])

    def _take(self, effects: list[fx.Effect]) -> None:
        changes = [e for e in effects if not isinstance(e, fx.ACTIONS)]
        self.loop.run_until_complete(self.store.commit(changes))
        for effect in effects:
            if isinstance(effect, fx.Place):
                self.unanswered.append(effect.order)
            elif isinstance(effect, fx.Cancel):
                self.cancels.append(effect.order)
            elif isinstance(effect, fx.Resolve):
                if effect.order.client_order_id not in {o.client_order_id for o in self.questions}:
                    self.questions.append(effect.order)
            elif isinstance(effect, fx.SetLeverage):
                self.queue.append(inputs.LeverageAnswered(effect.symbol, effect.leverage))

    @property
    def executions(self) -> list[Execution]:
        """Every execution that the desk knows."""
        return list(self.desk.book.executing.all.values())

    def answer(self, *, good: bool = False) -> None:
        """Answer one request: taken, refused, or lost with or without having arrived."""
        if not self.unanswered:
            return
        order = self.unanswered.pop(self.dice.randrange(len(self.unanswered)))
        fate = "taken" if good else self.dice.choice(("taken", "taken", "refused", "lost", "gone"))
        if fate == "refused" and order.purpose in (OrderPurpose.ENTRY, OrderPurpose.EXIT):
            code, retry = self.dice.choice((("-1003", True), ("-2019", False), ("-5022", False)))
            refusal = ex.Refused(code, "no", retryable=retry)
            self.tell(inputs.PlaceAnswered(order.client_order_id, refusal))
            return
        if order.purpose is OrderPurpose.STOP_LOSS and order.client_order_id in self.orders:
            # a restart sends a stop again that may have arrived: its id is refused
            self.tell(inputs.PlaceAnswered(order.client_order_id, ex.Unknown("-4116")))
            return
        if fate != "gone":
            assert order.client_order_id not in self.orders, "sent twice"
            self.orders[order.client_order_id] = replace(order, state=OrderState.ACCEPTED)
        if fate in ("lost", "gone"):
            self.tell(inputs.PlaceAnswered(order.client_order_id, ex.Unknown("lost")))
            return
        answer = ex.Accepted(self.report(order.client_order_id))
        self.tell(inputs.PlaceAnswered(order.client_order_id, answer))

    def report(self, name: str) -> ex.OrderReport:
        """Return what the exchange says of an order."""
        order = self.orders[name]
        return replace(report(order, order.state), time=self.desk.time)

    def trade(self) -> None:
        """Fill a part or all of one order that is open; the news of it may wait."""
        found = [
            o
            for o in self.orders.values()
            if not o.state.final and (not o.type.conditional or self.dice.random() < 0.02)
        ]
        if not found:
            return
        order = self.dice.choice(found)
        part = order.remaining
        if self.dice.random() < 0.6:
            part = filters_of(SYMBOL).floor_quantity(part * D(self.dice.randint(1, 9)) / 10)
        if order.reduce_only:
            part = min(part, max(-self.held * order.side.sign, ZERO))
        if not part:
            self.end(order, OrderState.EXPIRED)
            return
        price = order.price or self.price
        fill = fill_of(order, part, price, f"t{len(self.fills)}", self.desk.time, ZERO)
        self.held += part * order.side.sign
        done = replace(
            order,
            filled_quantity=order.filled_quantity + part,
            filled_cost=order.filled_cost + part * price,
            state=OrderState.PARTIALLY_FILLED if part < order.remaining else OrderState.FILLED,
        )
        self.orders[order.client_order_id] = done
        self.fills.append(ex.FillReport(fill))
        self.queue += [ex.FillReport(fill), self.report(order.client_order_id)]
        at_once = order.type is OrderType.MARKET or order.time_in_force in (
            TimeInForce.IOC,
            TimeInForce.FOK,
        )
        if at_once and not done.state.final and self.dice.random() < 0.5:
            self.end(done, OrderState.EXPIRED)

    def end(self, order: Order, state: OrderState) -> None:
        """End an order without a further fill."""
        self.orders[order.client_order_id] = replace(order, state=state)
        self.queue.append(self.report(order.client_order_id))

    def expire(self) -> None:
        """Let an order end that takes at once, or would have taken."""
        found = [
            o
            for o in self.orders.values()
            if not o.state.final
            and not o.type.conditional
            and o.time_in_force is not TimeInForce.GTC
        ]
        if found:
            self.end(self.dice.choice(found), OrderState.EXPIRED)

    def cancel(self, *, good: bool = False) -> None:
        """Carry out a cancel: done, or too late, or its answer lost."""
        if not self.cancels:
            return
        name = self.cancels.pop(0).client_order_id
        order = self.orders.get(name)
        if order is None or order.state.final:
            self.tell(inputs.CancelAnswered(name, ex.Refused("-2011", "unknown order")))
            return
        self.orders[name] = replace(order, state=OrderState.CANCELED)
        if good or self.dice.random() < 0.7:
            self.tell(inputs.CancelAnswered(name, ex.Accepted(self.report(name))))
        else:
            self.tell(inputs.CancelAnswered(name, ex.Unknown("lost")))

    def resolve(self) -> None:
        """Answer one question by client order id with the truth."""
        if self.questions:
            name = self.questions.pop(0).client_order_id
            found = self.report(name) if name in self.orders else None
            self.tell(inputs.OrderFound(name, found))

    def deliver(self, *, all_: bool = False) -> None:
        """Hand in waiting news, in any order."""
        while self.queue:
            self.tell(self.queue.pop(self.dice.randrange(len(self.queue))))
            if not all_:
                return

    def wait(self, seconds: int) -> None:
        """Let market time pass, with a price."""
        self.desk.time += seconds * 1000
        move = D(self.dice.randint(-15, 15)) / 100
        self.price = max(self.price + move, D(50))
        self.tell(ex.PriceReport(SYMBOL, self.desk.time, self.price))

    def restart(self) -> None:
        """Lose all memory: read back what was stored, compare with the exchange."""
        state = self.desk.book.trading_state
        # what was on its way still arrives at the exchange
        while self.unanswered:
            order = self.unanswered.pop()
            if self.dice.random() < 0.5:
                self.orders[order.client_order_id] = replace(order, state=OrderState.ACCEPTED)
        self.cancels.clear()
        self.questions.clear()
        book = self.loop.run_until_complete(self.store.load(self.policy))
        book.trading_state = state
        self.desk.book, self.desk.trader = book, Trader(book)
        self.tell(inputs.FiltersRead({SYMBOL: filters_of(SYMBOL)}))
        self.tell(ex.PriceReport(SYMBOL, self.desk.time, self.price))
        self.read(START)

    def read(self, cause: str) -> None:
        """Hand in a reading of the whole exchange."""
        wallet = self.desk.book.wallet or D(10_000)
        position = ex.ExchangePosition(SYMBOL, self.held, self.price, self.price, ZERO)
        account = ex.AccountReport(wallet, wallet, self.desk.time, (position,) if self.held else ())
        resting = tuple(self.report(n) for n, o in self.orders.items() if not o.state.final)
        fills = tuple(f.fill for f in self.fills)
        leverage = {SYMBOL: self.policy.leverage}
        self.tell(
            inputs.SnapshotRead(ex.ExchangeSnapshot(account, resting, fills, (), leverage), cause)
        )

    def calm(self) -> None:
        """Answer everything truthfully, and let every deadline pass."""
        for _ in range(60):
            while self.unanswered:
                self.answer(good=True)
            while self.cancels:
                self.cancel(good=True)
            while self.questions:
                self.resolve()
            self.deliver(all_=True)
            self.expire()
            for order in list(self.orders.values()):
                if order.type is OrderType.MARKET and not order.state.final:
                    self.trade()
            self.deliver(all_=True)
            self.wait(20)
            self.tell(inputs.Tick())

    def random_step(self) -> None:
        """Let something happen."""
        dice = self.dice
        act = dice.choices(
            ("answer", "trade", "deliver", "cancel", "resolve", "expire", "wait", "tick",
             "restart", "signal", "close", "gate"),
            (8, 8, 10, 5, 5, 3, 6, 3, 1, 1, 0.3, 0.5),
        )[0]  # fmt: skip
        if act == "wait":
            self.wait(dice.choice((1, 5, 20, 60)))
        elif act == "tick":
            self.tell(inputs.Tick())
        elif act == "signal":
            self.desk.time += MINUTE
            self.signal(dice.choice(list(Side)))
        elif act == "close":
            self.tell(inputs.ClosePosition(f"c{len(self.desk.effects)}", SYMBOL))
        elif act == "gate":
            self.tell(inputs.GatesChanged(ex_gates(dice)))
        else:
            getattr(self, act)()


def ex_gates(dice: random.Random) -> Gates:
    """Drain at times."""
    return Gates(draining=dice.random() < 0.5)
