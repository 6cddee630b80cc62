"""The core of exec_risk alone: candles judged, entries decided, positions protected and closed."""

from __future__ import annotations

import time
from collections import Counter, deque
from decimal import Decimal
from itertools import count
from pathlib import Path

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.risk.risk_policy import RiskPolicy
from services.exec_risk.core.state import Book
from services.exec_risk.core.trader import Event, Trader
from services.trade.candle import Candle
from services.trade.order import Fill, Order, OrderPurpose, OrderState, Side
from tests.benchmarks import walk
from tests.benchmarks.rows import Row
from tests.unit.exec_risk.account_desk import fill_of, filters_of, report, signal_of

SYMBOLS = tuple(f"SYM{number:02}USDT" for number in range(20))
ROUNDS = 600
NAUTILUS_BARS_A_SECOND = 22_000
"""nautilus_trader 1.221 with orders, as measured for the design (section 8)."""
_AT_ONCE = (OrderPurpose.ENTRY, OrderPurpose.EXIT)


class Account:
    """The core, and an exchange that answers and fills at once whatever it is asked for."""

    def __init__(self, policy: Policy) -> None:
        self.book = Book(policy)
        self.book.wallet = Decimal(100_000)
        self.book.filters = {symbol: filters_of(symbol) for symbol in SYMBOLS}
        self.told: Counter[type] = Counter()
        """How many effects of each kind followed."""
        self._trader = Trader(self.book)
        self._trades = count(1)

    def tell(self, event: Event, now: int) -> None:
        """Hand in an event, then the answers to what it asks for, until nothing is asked for."""
        waiting = deque((event,))
        while waiting:
            for effect in self._trader.handle(waiting.popleft(), now):
                self.told[type(effect)] += 1
                if isinstance(effect, fx.ACTIONS):
                    waiting.extend(self._answers(effect, now))

    def _answers(self, action: fx.Action, now: int) -> list[Event]:
        if isinstance(action, fx.Place):
            order = action.order
            taken = ex.Accepted(report(order))
            answers: list[Event] = [inputs.PlaceAnswered(order.client_order_id, taken)]
            if order.purpose in _AT_ONCE:
                answers.append(ex.FillReport(self._fill(order, now)))
            return answers
        if isinstance(action, fx.Cancel):
            order = action.order
            ended = ex.Accepted(report(order, OrderState.CANCELED))
            return [inputs.CancelAnswered(order.client_order_id, ended)]
        if isinstance(action, fx.SetLeverage):
            return [inputs.LeverageAnswered(action.symbol, action.leverage)]
        raise ValueError(f"nothing is lost here, and yet {action} is asked for")

    def _fill(self, order: Order, now: int) -> Fill:
        price = self.book.prices[order.symbol][0]
        position = self.book.positions.get(order.symbol)
        pnl = Decimal(0)
        if position is not None and order.reduce_only and position.entry_price is not None:
            pnl = (price - position.entry_price) * order.quantity * position.side.sign
        return fill_of(order, order.quantity, price, str(next(self._trades)), now, pnl)


async def measure(home: Path) -> list[Row]:
    """Return candles and decisions a second; every twentieth candle brings a signal."""
    del home
    account = Account(Policy(cooldown_ms=0, max_positions=len(SYMBOLS), risk=_limits()))
    rounds = walk.rounds(list(SYMBOLS), ROUNDS, seed=1)
    began = time.perf_counter()
    for number, candles in enumerate(rounds):
        _one_round(account, number, candles)
    seconds = time.perf_counter() - began
    candles_told, told = ROUNDS * len(SYMBOLS), account.told
    numbers = {
        "candles": candles_told,
        "seconds": seconds,
        "decisions": told[fx.RiskDecided],
        "orders": told[fx.Place],
        "fills": told[fx.FillRecorded],
        "closed": told[fx.PositionClosed],
    }
    rate = candles_told / seconds
    return [
        Row(
            path="core of exec_risk: candles through rounds, signals, orders, fills",
            measured=f"{rate:,.0f} candles/s, {numbers['orders'] / seconds:,.0f} orders/s",
            floor=f"nautilus_trader with orders {NAUTILUS_BARS_A_SECOND:,}/s (published)",
            ratio=rate / NAUTILUS_BARS_A_SECOND,
            aim=1.0,
            higher_is_better=True,
            numbers=numbers,
        )
    ]


def _limits() -> RiskPolicy:
    """Every rule is asked, but a random walk's losses do not end the story."""
    return RiskPolicy(
        clusters={symbol: symbol for symbol in SYMBOLS},
        max_trades_per_day=ROUNDS,
        cautious_losses=ROUNDS,
        emergency_losses=ROUNDS,
        max_symbol_losses=ROUNDS,
    )


def _one_round(account: Account, number: int, candles: list[Candle]) -> None:
    """A signal every round: it enters, or closes what an earlier one in the other way opened."""
    now = candles[0].close_time
    for candle in candles:
        account.tell(ex.CandleClosed(candle), now)
    account.tell(ex.PointReached(number, now, SYMBOLS), now)
    turn, place = divmod(number, len(SYMBOLS))
    chosen, side = SYMBOLS[place], Side.BUY if (turn + place) % 2 == 0 else Side.SELL
    answers = tuple(
        inputs.Prediction(s, "1m", now, signal_of(s, side, now) if s == chosen else None)
        for s in SYMBOLS
    )
    account.tell(inputs.PredictionsArrived(answers), now)
