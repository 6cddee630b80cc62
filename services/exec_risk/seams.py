"""What the shell needs of the world, as Protocols, so that simulation can stand in for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.exec_risk.core.effects import Change
from services.exec_risk.core.exchange_events import (
    ExchangeEvent,
    ExchangeSnapshot,
    OrderReport,
    RequestOutcome,
)
from services.exec_risk.core.facts import Latch
from services.exec_risk.core.inputs import Command
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.state import Book
from services.trade.candle import Candle
from services.trade.filters import SymbolFilters
from services.trade.order import Order
from services.trade.position import TradingState


class Exchange(Protocol):
    """One account on one exchange."""

    @property
    def connected(self) -> bool:
        """True while requests are answered and the user stream is alive."""
        ...

    @property
    def tells_points(self) -> bool:
        """True for the paper venue, which moves market time in steps and tells each of them."""
        ...

    async def filters(self) -> dict[str, SymbolFilters]:
        """Read the filters of every symbol that can be traded."""
        ...

    async def history(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """Read the last closed candles, oldest first."""
        ...

    async def snapshot(self, since: int) -> ExchangeSnapshot:
        """Read account, positions, open orders (also conditional ones), fills and funding.

        Fills and funding are those of market time `since` and later.
        """
        ...

    async def place(self, order: Order, *, signed_at: int) -> RequestOutcome:
        """Send an order once, signed with the wall time (ms) of the write that allowed it."""
        ...

    async def cancel(self, order: Order, *, signed_at: int) -> RequestOutcome:
        """Cancel an order by its client order id, signed as `place` is."""
        ...

    async def find(self, order: Order) -> OrderReport | None:
        """Ask for an order by its client order id; None when the exchange does not know it."""
        ...

    async def set_leverage(self, symbol: str, leverage: int, *, signed_at: int) -> int:
        """Set a symbol's leverage, signed as `place` is; return what a read-back says."""
        ...

    def events(self) -> AsyncIterator[ExchangeEvent]:
        """Everything that the exchange tells, in order, without end.

        A point is told once and none comes after a later one, also across connections.
        """
        ...

    async def idle(self, point: int) -> None:
        """Tell the paper venue that everything up to this point is handled."""
        ...

    async def close(self) -> None:
        """Close sockets and sessions."""
        ...


class CandleSink(Protocol):
    """Where closed candles go."""

    async def publish(self, candles: Sequence[Candle], *, history: bool) -> None:
        """Publish candles in order; `history` ones fill windows and make no prediction."""
        ...


class StoreUnavailable(Exception):
    """The store did not answer; whether it committed is not known, repeating is harmless."""


@dataclass(frozen=True, slots=True)
class Switches:
    """What a commit found written beside it, by whomever."""

    trading_state: TradingState
    latch: Latch | None = None
    """An emergency stop that nobody has reset."""


class Store(Protocol):
    """Where the account's truth is kept."""

    async def load(self, policy: Policy) -> Book:
        """Read the account back as the last commit left it."""
        ...

    async def commit(self, changes: Sequence[Change]) -> Switches | None:
        """Keep all changes and their facts in one transaction, or none of them.

        Returns the switches as they stood before it; None where nobody else can move them.
        StoreUnavailable as above; any other exception means that another replica leads now.
        """
        ...

    async def requests(self) -> list[Command]:
        """Read what operators asked and nobody has answered, oldest first."""
        ...

    async def write_status(
        self, *, connected: bool, ready: bool, blocked_by: str, counters: dict[str, float]
    ) -> None:
        """Tell the other replicas what only the leader sees."""
        ...


class Leadership(Protocol):
    """The right to act for the account."""

    @property
    def held(self) -> bool:
        """True while it is surely ours."""
        ...

    async def wait(self) -> None:
        """Return when it is ours."""
        ...

    async def keep(self, on_lost: Callable[[], None]) -> None:
        """Hold on to it; call `on_lost` once when it is gone."""
        ...

    async def release(self) -> None:
        """Give it back."""
        ...
