"""An entry that is being judged: the signal, the account and the size it would have."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core.executions import impact
from services.exec_risk.core.inputs import Signal
from services.exec_risk.core.market import Quote
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.risk import exposure, fund, safety, sizing
from services.exec_risk.core.risk.sizing import Size
from services.exec_risk.core.state import Book
from services.trade.execution import ExecutionStrategy
from services.trade.filters import SymbolFilters


@dataclass(slots=True)
class Entry:
    """An entry that is being judged; `notional` is set when a caller asks for a given size."""

    book: Book
    signal: Signal
    now: int
    leverage: int
    notional: Decimal | None = None
    size: Size | None = None
    stop_fraction: Decimal = Decimal(0)
    take_fraction: Decimal = Decimal(0)
    strategy: ExecutionStrategy | None = None
    """How it would be executed; None: as the policy says."""
    max_slippage: Decimal | None = None
    stop_asked: Decimal | None = None
    """Distance that a caller asks for; None: by the policy."""
    take_asked: Decimal | None = None
    adds_to: str = ""
    """Position that it makes larger; empty for one that opens another."""
    room: dict[str, Decimal] | None = None

    @property
    def policy(self) -> Policy:
        """Limits in force."""
        return self.book.policy

    @property
    def filters(self) -> SymbolFilters:
        """Filters of the symbol; only asked after the rule `unknown_symbol`."""
        return self.book.filters[self.signal.symbol]

    @property
    def price(self) -> Decimal:
        """Last price; only asked after the rule `price`."""
        return self.book.prices[self.signal.symbol][0]

    @property
    def equity(self) -> Decimal:
        """Equity; only asked after the rule `equity`."""
        return self.book.equity() or Decimal(0)

    def fresh_quote(self) -> Quote | None:
        """Return the symbol's quote; None when there is none that is young enough."""
        quote = self.book.quotes.get(self.signal.symbol)
        if quote is None or self.now - quote.time > self.policy.max_price_age_ms:
            return None
        return quote

    def funding_paid(self) -> Decimal | None:
        """Return the funding rate that the entry's side pays, negative when it is paid.

        None when it is not known.
        """
        quote = self.fresh_quote()
        rate = quote.funding_rate if quote else None
        if rate is None or not rate.is_finite():
            return None
        return rate * self.signal.side.sign

    @property
    def slippage_cap(self) -> Decimal:
        """Largest fraction of the price that may be paid on top; a caller may only lower it."""
        cap, limits = self.policy.execution.max_slippage, fund.limits_of(self.book)
        if limits is not None:
            cap = min(cap, limits.max_slippage)
        return cap if self.max_slippage is None else min(cap, self.max_slippage)

    def expected_impact(self, quantity: Decimal) -> Decimal | None:
        """Return the impact of a quantity taken at once; None when no volume is known."""
        executing, symbol = self.book.executing, self.signal.symbol
        profile = executing.volumes.get(symbol)
        return impact.expected(quantity, profile, executing.quoted_spread(symbol))

    def sized(self) -> Size:
        """Return the size of the entry; computed once."""
        if self.size is None:
            self.size = self._size()
        return self.size

    def rooms(self) -> dict[str, Decimal]:
        """Return what each limit leaves for this entry, in USD, by its rule's name; once."""
        if self.room is None:
            self.room = self._rooms()
        return self.room

    def _rooms(self) -> dict[str, Decimal]:
        book, policy, side = self.book, self.policy, self.signal.side
        capacity = exposure.capacity(book, self.equity)
        risk, symbol = policy.risk, self.signal.symbol
        margin_free = self.equity * policy.margin_share - book.margin_used()
        gross = book.gross_exposure() + book.reserved()
        held = exposure.of_symbol(book, symbol) if self.adds_to else Decimal(0)
        return {
            "notional": policy.max_position_usd - held,
            "gross_exposure": exposure.limit(book) - gross,
            "net_exposure": capacity * risk.max_net_share - exposure.of_side(book, side),
            "symbol_share": capacity * risk.max_symbol_share - exposure.of_symbol(book, symbol),
            "cluster_share": capacity * risk.max_cluster_share
            - exposure.of_cluster(book, symbol, side),
            "margin": margin_free * self.leverage,
            "place": self.equity * policy.margin_share * self.leverage / policy.max_positions
            - held,
        }

    def _size_factor(self) -> Decimal:
        """The fund's factor: below 1 it lessens what results ask for, above 1 it raises the risk,
        never beyond RISK_PER_TRADE nor any limit."""
        limits = fund.limits_of(self.book)
        return Decimal(1) if limits is None else limits.size_factor

    def _size(self) -> Size:
        if self.notional is not None:
            quantity = self.filters.floor_quantity(self.notional / self.price)
            return sizing.of_quantity(quantity, self.price, self.leverage)
        policy, limits = self.policy, self.policy.risk
        factor = self._size_factor()
        kelly = self.book.results.kelly(limits.kelly_window, limits.kelly_min_trades)
        return sizing.size(
            wanted=sizing.wanted(
                equity=self.equity,
                risk=min(
                    sizing.risk_fraction(policy, kelly) * max(factor, Decimal(1)),
                    policy.risk_per_trade,
                ),
                confidence=self.signal.confidence,
                stop_fraction=self.stop_fraction,
                atr_fraction=self.signal.atr_fraction,
                volatility_target=limits.volatility_target,
                multiplier=safety.of(self.book).size * min(factor, Decimal(1)),
            ),
            price=self.price,
            leverage=self.leverage,
            limit=sizing.smallest(self.rooms().values()),
            filters=self.filters,
        )
