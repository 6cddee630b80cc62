"""An exchange that answers a desk in any way there is: the driver of the protection's tests."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.reconciling.reconcile import START
from services.exec_risk.core.trader import Event
from services.trade.candle import Candle
from services.trade.order import Fill, Order, OrderPurpose, OrderState, OrderType, Side
from tests.unit.exec_risk.account_desk import MINUTE, Desk, fill_of, report, signal_of

D = Decimal
SYMBOL = "BTCUSDT"
CODES = ("-2021", "-1111", "-4045", "-2022", "-1008", "rejected")


class HostileExchange:
    """Holds what the exchange holds, and what it has not told yet. Random by its seed alone."""

    def __init__(self, seed: int, policy: Policy) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - a test's order, not a secret
        self.desk = Desk(policy, (SYMBOL,))
        self.desk.book.wallet = D(10_000)
        self.price, self.held = D(100), D(0)
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.told: list[Event] = []
        self.kind = True
        """False: refuses, loses, delays and doubles."""
        self.read = 0
        self.opened_by_exit: list[str] = []

    def tell(self, event: Event) -> None:
        """Hand an event to the core and take in what it asks for."""
        self.desk.tell(event)
        new, self.read = self.desk.effects[self.read :], len(self.desk.effects)
        for effect in new:
            if isinstance(effect, fx.Place):
                self._asked(effect.order)
            elif isinstance(effect, fx.Cancel):
                self._cancel(effect.order)
            elif isinstance(effect, fx.Resolve):
                self._later(self._found(effect.order))

    def enter(self, side: Side) -> None:
        """Give a signal."""
        desk = self.desk
        desk.time += MINUTE
        signal = signal_of(SYMBOL, side, desk.time)
        self.tell(ex.CandleClosed(self._candle()))
        self.tell(ex.PointReached(desk.time // MINUTE, desk.time, (SYMBOL,)))
        answer = inputs.Prediction(SYMBOL, "1m", desk.time, signal)
        self.tell(inputs.PredictionsArrived((answer,)))

    def step(self) -> None:
        """Let one thing happen."""
        things = (self._deliver, self._deliver, self._move, self._close, self._tick, self._overdue)
        rare = (self._restart, self._again)
        self.dice.choice(things if self.dice.random() < 0.95 or self.kind else rare)()

    def settle(self) -> None:
        """Answer everything well until nothing is left to be told."""
        self.kind = True
        before = len(self.desk.effects)
        for _ in range(12):
            while self.told:
                self._deliver()
                assert len(self.desk.effects) < before + 5_000, "what is asked for has no end"
            self.desk.time += 70 * MINUTE
            self._snapshot()
            self._tick()
            while self.told:
                self._deliver()
            self._match()

    def _asked(self, order: Order) -> None:
        fate = 1.0 if self.kind else self.dice.random()
        if fate < 0.08:
            refused = ex.Refused(self.dice.choice(CODES), "no", self.dice.random() < 0.3)
            self._later(inputs.PlaceAnswered(order.client_order_id, refused))
        elif fate < 0.16:
            lost = ex.Unknown("lost")
            if self.dice.random() < 0.5:
                self.orders[order.client_order_id] = replace(order, state=OrderState.ACCEPTED)
            self._later(inputs.PlaceAnswered(order.client_order_id, lost))
        else:
            taken = replace(order, state=OrderState.ACCEPTED)
            self.orders[order.client_order_id] = taken
            accepted = ex.Accepted(report(taken))
            self._later(inputs.PlaceAnswered(order.client_order_id, accepted))

    def _cancel(self, order: Order) -> None:
        known = self.orders.get(order.client_order_id)
        if known is None or known.state.final:
            outcome: ex.RequestOutcome = ex.Refused("-2011", "unknown order")
        elif not self.kind and self.dice.random() < 0.2:
            outcome = ex.Unknown("lost")
        else:
            gone = replace(known, state=OrderState.CANCELED)
            self.orders[order.client_order_id] = gone
            outcome = ex.Accepted(report(gone, OrderState.CANCELED))
        self._later(inputs.CancelAnswered(order.client_order_id, outcome))

    def _found(self, order: Order) -> Event:
        known = self.orders.get(order.client_order_id)
        told = None if known is None else self._report(known)
        return inputs.OrderFound(order.client_order_id, told)

    def _report(self, order: Order) -> ex.OrderReport:
        return replace(report(order, order.state), time=self.desk.time)

    def _later(self, event: Event) -> None:
        self.told.append(event)
        if not self.kind and self.dice.random() < 0.15:
            self.told.append(event)

    def _deliver(self) -> None:
        if self.told:
            place = 0 if self.kind else self.dice.randrange(min(len(self.told), 3))
            self.tell(self.told.pop(place))

    def _move(self) -> None:
        self.price *= 1 + D(self.dice.randint(-60, 60)) / 10_000
        self.price = self.price.quantize(D("0.01"))
        self._match()

    def _match(self) -> None:
        for order in list(self.orders.values()):
            if not order.state.final and self._fires(order):
                self._fill(order)

    def _fires(self, order: Order) -> bool:
        if not order.type.conditional or order.filled_quantity:
            return True
        assert order.trigger_price is not None
        distance = (self.price - order.trigger_price) * order.side.sign
        return distance >= 0 if order.type is OrderType.STOP_MARKET else distance <= 0

    def _fill(self, order: Order) -> None:
        quantity = order.remaining
        if order.reduce_only:
            room = abs(self.held) if self.held * order.side.sign < 0 else D(0)
            quantity = min(quantity, room)
        if quantity and not self.kind and self.dice.random() < 0.4:
            quantity = max((quantity / 2).quantize(D("0.001")), D("0.001"))
        if not quantity:
            done = replace(order, state=OrderState.EXPIRED)
            self.orders[order.client_order_id] = done
            self._later(self._report(done))
            return
        number = str(len(self.fills) + 1)
        fill = fill_of(order, quantity, self.price, number, self.desk.time, D(0))
        self.fills.append(fill)
        before, self.held = self.held, self.held + quantity * order.side.sign
        if order.reduce_only and before * self.held < 0:
            self.opened_by_exit.append(order.client_order_id)
        filled = order.filled_quantity + quantity
        state = OrderState.FILLED if filled >= order.quantity else OrderState.PARTIALLY_FILLED
        self.orders[order.client_order_id] = replace(
            order, state=state, filled_quantity=filled, filled_cost=self.price * filled
        )
        self._later(ex.FillReport(fill))

    def _candle(self) -> Candle:
        time, price = self.desk.time - MINUTE, self.price
        high = price * (1 + D(self.dice.randint(0, 40)) / 10_000)
        low = price * (1 - D(self.dice.randint(0, 40)) / 10_000)
        return Candle("paper", SYMBOL, "1m", time, price, high, low, price, D(100_000))

    def _close(self) -> None:
        self.desk.time += MINUTE
        self.tell(ex.CandleClosed(self._candle()))

    def _tick(self) -> None:
        self.tell(inputs.Tick())

    def _overdue(self) -> None:
        for position in self.desk.trader.unprotected():
            if self.dice.random() < 0.2:
                self.tell(inputs.ProtectionOverdue(position.position_id))

    def _again(self) -> None:
        if self.fills:
            self.tell(ex.FillReport(self.dice.choice(self.fills)))

    def _restart(self) -> None:
        """The process dies: what it had not stored and what was on its way to it is gone."""
        self.desk = self.desk.restart()
        self.told.clear()
        self._snapshot()

    def _snapshot(self) -> None:
        price = self.price
        held = (ex.ExchangePosition(SYMBOL, self.held, price, price, D(0)),) if self.held else ()
        wallet = self.desk.book.wallet or D(0)
        account = ex.AccountReport(wallet, wallet, self.desk.time, held)
        resting = tuple(self._report(o) for o in self.orders.values() if not o.state.final)
        found = ex.ExchangeSnapshot(account, resting, tuple(self.fills), leverage={SYMBOL: 5})
        self.tell(inputs.SnapshotRead(found, START))


def purposes(orders: list[Order], purpose: OrderPurpose) -> list[Order]:
    """Return the orders of one purpose."""
    return [o for o in orders if o.purpose is purpose]
