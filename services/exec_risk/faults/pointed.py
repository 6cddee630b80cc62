"""The seams with a fault point before and after each call. Wired in only where a drill asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from services.exec_risk.core.effects import Change
from services.exec_risk.core.exchange_events import (
    ExchangeEvent,
    ExchangeSnapshot,
    OrderReport,
    RequestOutcome,
)
from services.exec_risk.core.inputs import Command
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.state import Book
from services.exec_risk.faults.fault_points import Reached
from services.exec_risk.seams import Exchange, Store, Switches
from services.trade.candle import Candle
from services.trade.filters import SymbolFilters
from services.trade.order import Order


class PointedStore:
    """The seam `Store`."""

    def __init__(self, store: Store, reached: Reached) -> None:
        self._store = store
        self._reached = reached

    async def load(self, policy: Policy) -> Book:
        """As the seam says."""
        self._reached("before_load")
        found = await self._store.load(policy)
        self._reached("after_load")
        return found

    async def commit(self, changes: Sequence[Change]) -> Switches | None:
        """As the seam says."""
        self._reached("before_commit")
        found = await self._store.commit(changes)
        self._reached("after_commit")
        return found

    async def requests(self) -> list[Command]:
        """As the seam says."""
        return await self._store.requests()

    async def write_status(
        self, *, connected: bool, ready: bool, blocked_by: str, counters: dict[str, float]
    ) -> None:
        """As the seam says."""
        await self._store.write_status(
            connected=connected, ready=ready, blocked_by=blocked_by, counters=counters
        )


class PointedExchange:
    """The seam `Exchange`."""

    def __init__(self, exchange: Exchange, reached: Reached) -> None:
        self._exchange = exchange
        self._reached = reached

    @property
    def connected(self) -> bool:
        """As the seam says."""
        return self._exchange.connected

    @property
    def tells_points(self) -> bool:
        """As the seam says."""
        return self._exchange.tells_points

    async def filters(self) -> dict[str, SymbolFilters]:
        """As the seam says."""
        return await self._exchange.filters()

    async def history(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """As the seam says."""
        return await self._exchange.history(symbol, timeframe, limit)

    async def snapshot(self, since: int) -> ExchangeSnapshot:
        """As the seam says."""
        self._reached("before_snapshot")
        found = await self._exchange.snapshot(since)
        self._reached("after_snapshot")
        return found

    async def place(self, order: Order, *, signed_at: int) -> RequestOutcome:
        """As the seam says."""
        self._reached("before_place")
        found = await self._exchange.place(order, signed_at=signed_at)
        self._reached("after_place")
        return found

    async def cancel(self, order: Order, *, signed_at: int) -> RequestOutcome:
        """As the seam says."""
        self._reached("before_cancel")
        found = await self._exchange.cancel(order, signed_at=signed_at)
        self._reached("after_cancel")
        return found

    async def find(self, order: Order) -> OrderReport | None:
        """As the seam says."""
        self._reached("before_find")
        found = await self._exchange.find(order)
        self._reached("after_find")
        return found

    async def set_leverage(self, symbol: str, leverage: int, *, signed_at: int) -> int:
        """As the seam says."""
        self._reached("before_leverage")
        found = await self._exchange.set_leverage(symbol, leverage, signed_at=signed_at)
        self._reached("after_leverage")
        return found

    def events(self) -> AsyncIterator[ExchangeEvent]:
        """As the seam says."""
        return self._exchange.events()

    async def idle(self, point: int) -> None:
        """As the seam says."""
        self._reached("before_idle")
        await self._exchange.idle(point)
        self._reached("after_idle")

    async def close(self) -> None:
        """As the seam says."""
        await self._exchange.close()
