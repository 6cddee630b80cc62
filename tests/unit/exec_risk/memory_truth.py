"""A store in memory that survives a crash, goes away, and fails before or after a commit held."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Literal

from services.exec_risk.core import effects as fx
from services.exec_risk.core.inputs import Command
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.state import Book
from services.exec_risk.seams import StoreUnavailable, Switches
from services.lab.simulation.rows import Rows, apply, read
from services.trade.order import OrderState


class Deposed(Exception):
    """The store refuses an old token."""


class MemoryTruth(Rows):
    """Rows that survive a crash, and a store that can go away."""

    def __init__(self) -> None:
        super().__init__()
        self.alerts: list[fx.Alert] = []
        self.away: Literal["", "refuses", "hangs"] = ""
        """How the store fails now; '' when it answers."""
        self.changed = asyncio.Event()
        self.poison: Callable[[Book], None] = lambda _: None
        """Done to every book that is read back."""

    def leave(self, how: Literal["refuses", "hangs"]) -> None:
        """Go away."""
        self.away = how

    def come_back(self) -> None:
        """Answer again, also what hangs."""
        self.away = ""
        self.changed.set()
        self.changed = asyncio.Event()

    async def reach(self) -> None:
        """Return when the store can be reached; StoreUnavailable while it refuses."""
        while self.away == "hangs":
            await self.changed.wait()
        if self.away:
            raise StoreUnavailable("away")


class MemoryStore:
    """The seam `Store`: one transaction a commit, fenced, failing before or after it held."""

    def __init__(self, truth: MemoryTruth, dice: random.Random, *, faults: float) -> None:
        truth.token += 1
        self._truth, self._token, self._dice, self._faults = truth, truth.token, dice, faults

    async def commit(self, changes: Sequence[fx.Change]) -> Switches | None:
        """Apply all changes; a fault leaves it open whether they held."""
        await asyncio.sleep(0)
        await self._truth.reach()
        if self._token != self._truth.token:
            raise Deposed
        fault = self._dice.random() < self._faults
        if fault and self._dice.random() < 0.5:
            raise StoreUnavailable("before")
        before = Switches(self._truth.trading_state, self._truth.latch)
        for change in changes:
            self._apply(change)
        await asyncio.sleep(0)
        if fault:
            raise StoreUnavailable("after")
        return before

    def _apply(self, change: fx.Change) -> None:
        if isinstance(change, fx.OrderChanged):
            order = change.order
            assert order.state is not OrderState.FILLED or order.filled_quantity > 0
        if isinstance(change, fx.Alert):
            self._truth.alerts.append(change)
        apply(self._truth, change)

    async def load(self, policy: Policy) -> Book:
        """Read everything back."""
        await self._truth.reach()
        book = read(self._truth, policy)
        self._truth.poison(book)
        return book

    async def requests(self) -> list[Command]:
        """Nobody asks."""
        await self._truth.reach()
        return []

    async def write_status(
        self, *, connected: bool, ready: bool, blocked_by: str, counters: dict[str, float]
    ) -> None:
        """Nobody reads."""
        await self._truth.reach()
