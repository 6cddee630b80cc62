"""An account on a desk: the core driven by hand, its sent requests kept."""

from __future__ import annotations

from decimal import Decimal
from itertools import count

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.state import Book
from services.exec_risk.core.trader import Event, Trader
from services.trade import ids
from services.trade.candle import Candle
from services.trade.filters import SymbolFilters
from services.trade.order import Fill, Order, OrderPurpose, OrderState, Side

MINUTE = 60_000
START = 1_700_000_040_000
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
PRICE = Decimal(100)


def filters_of(symbol: str) -> SymbolFilters:
    """Plain filters: tick 0.01, step 0.001, least notional 5."""
    d = Decimal
    return SymbolFilters(
        symbol, d("0.01"), d("0.001"), d("0.001"), d(10_000), d(10_000), d(5), max_leverage=20
    )


def signal_of(
    symbol: str, side: Side, time: int, confidence: float = 0.8, atr: str = "0.004"
) -> inputs.Signal:
    """A signal of the candle that closes at `time`."""
    return inputs.Signal(
        ids.signal_id("paper", symbol, "1m", time - MINUTE),
        "paper",
        symbol,
        "1m",
        side,
        confidence,
        PRICE,
        Decimal(atr),
        time,
        time + 5 * MINUTE,
        trace_id=ids.trace_id(f"{symbol}{time}"),
    )


class Desk:
    """Feeds the core and keeps what it asks for."""

    def __init__(self, policy: Policy | None = None, symbols: tuple[str, ...] = SYMBOLS) -> None:
        self.book = Book(policy or Policy())
        self.book.wallet = Decimal(10_000)
        self.book.filters = {s: filters_of(s) for s in symbols}
        self.book.leverage = dict.fromkeys(symbols, self.book.policy.leverage)
        self.trader = Trader(self.book)
        self.time = START
        self.effects: list[fx.Effect] = []
        self._trades = count(1)

    def tell(self, event: Event) -> list[fx.Effect]:
        """Hand in one event and return what followed."""
        found = self.trader.handle(event, self.time)
        self.effects += found
        return found

    def placed(self, purpose: OrderPurpose | None = None) -> list[Order]:
        """Return every order that was sent, oldest first."""
        sent = [e.order for e in self.effects if isinstance(e, fx.Place)]
        return [o for o in sent if purpose is None or o.purpose is purpose]

    def of(self, kind: type) -> list[fx.Effect]:
        """Return the effects of one kind."""
        return [e for e in self.effects if isinstance(e, kind)]

    def restart(self) -> Desk:
        """Return a desk with a new core that knows only what this one has stored."""
        again = Desk(self.book.policy, tuple(self.book.filters))
        again.time, again._trades = self.time, self._trades
        again.effects = list(self.effects)
        stored(again.book, self.effects)
        return again

    def close(
        self, symbol: str, close: Decimal, high: Decimal | None = None, low: Decimal | None = None
    ) -> None:
        """Close a minute's candle of one symbol at `time`."""
        top, bottom = max(close, high or close), min(close, low or close)
        candle = Candle(
            "paper", symbol, "1m", self.time - MINUTE, close, top, bottom, close, Decimal(1)
        )
        self.tell(ex.CandleClosed(candle))

    def round(
        self, *signals: inputs.Signal, close: Decimal = PRICE, skip: tuple[str, ...] = ()
    ) -> None:
        """Close a candle of each symbol at `time` and answer all but the skipped."""
        for symbol in sorted(self.book.filters):
            candle = Candle(
                "paper", symbol, "1m", self.time - MINUTE, close, close, close, close, Decimal(1)
            )
            self.tell(ex.CandleClosed(candle))
        self.tell(ex.PointReached(self.time // MINUTE, self.time, tuple(self.book.filters)))
        by_symbol = {s.symbol: s for s in signals}
        answers = tuple(
            inputs.Prediction(s, "1m", self.time, by_symbol.get(s))
            for s in self.book.filters
            if s not in skip
        )
        self.tell(inputs.PredictionsArrived(answers))

    def accept(self, order: Order) -> None:
        """Answer an order as taken."""
        self.tell(inputs.PlaceAnswered(order.client_order_id, ex.Accepted(report(order))))

    def refuse(self, order: Order, code: str, *, retryable: bool = False) -> None:
        """Answer an order as refused."""
        refused = ex.Refused(code, "no", retryable)
        self.tell(inputs.PlaceAnswered(order.client_order_id, refused))

    def fill(
        self,
        order: Order,
        quantity: Decimal | None = None,
        price: Decimal = PRICE,
        pnl: Decimal = Decimal(0),
    ) -> Fill:
        """Fill an order, all of it by default."""
        amount = order.quantity if quantity is None else quantity
        fill = fill_of(order, amount, price, str(next(self._trades)), self.time, pnl)
        self.tell(ex.FillReport(fill))
        return fill

    def open(self, symbol: str = "BTCUSDT", side: Side = Side.BUY) -> Order:
        """Open a position by a signal, protected; return its entry order."""
        self.round(signal_of(symbol, side, self.time))
        entry = self.placed(OrderPurpose.ENTRY)[-1]
        self.accept(entry)
        self.fill(entry)
        self.accept_all()
        return entry

    def accept_all(self) -> None:
        """Answer every order as taken that waits for its answer."""
        for order in self.book.live_orders():
            if order.state is OrderState.SUBMITTED:
                self.accept(order)


def report(order: Order, state: OrderState = OrderState.ACCEPTED) -> ex.OrderReport:
    """A report of an order without new fills."""
    return ex.OrderReport(
        order.client_order_id,
        "x" + order.client_order_id,
        order.symbol,
        order.side,
        state,
        order.quantity,
        order.filled_quantity,
        order.average_price,
        START,
    )


def fill_of(
    order: Order, quantity: Decimal, price: Decimal, trade: str, time: int, pnl: Decimal
) -> Fill:
    """A fill of an order with a taker's commission."""
    return Fill(
        trade,
        order.account,
        order.symbol,
        order.client_order_id,
        order.side,
        price,
        quantity,
        price * quantity * Decimal("0.0005"),
        pnl,
        False,
        time,
    )


def stored(book: Book, effects: list[fx.Effect]) -> None:
    """Bring an empty book to what the effects have stored, as a restart reads it back."""
    for effect in effects:
        match effect:
            case fx.OrderChanged(order=order):
                book.orders[order.client_order_id] = order
            case fx.PositionOpened(position=position) | fx.PositionChanged(position=position):
                book.positions[position.symbol] = position
            case fx.PositionClosed(position=position):
                del book.positions[position.symbol]
                book.last_closed[position.symbol] = position.closed_time or 0
            case fx.FillRecorded(fill=fill):
                book.seen_fills[fill.symbol, fill.trade_id] = fill.time
            case fx.ExecutionChanged(execution=execution):
                book.executing.put(execution)
            case fx.StorePlan(plan=plan):
                book.plans[plan.position_id] = plan
            case fx.StoreCancel(client_order_id=order_id):
                book.leaving.add(order_id)
            case fx.StoreFundPolicy(policy=policy):
                book.fund.learn(policy)
            case fx.DirectiveApplied():
                book.directives[effect.directive_id] = effect.deadline
            case fx.StoreProgress(progress=progress):
                book.progress[progress.position_id] = progress
            case fx.AccountSnapshot():
                book.wallet, book.time = effect.wallet_balance, max(book.time, effect.time)
                book.last_round = effect.last_round
            case _:
                continue
    book.leaving &= {order.client_order_id for order in book.orders.live}
    for order in book.orders.values():
        key = (order.position_id, order.purpose)
        book.counts[key] = book.counts.get(key, 0) + 1
