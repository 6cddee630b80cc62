"""A replica that takes over knows the prices that were told while it stood by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

from services.exec_risk.core.exchange_events import PriceReport
from services.exec_risk.term.leader import Leader
from tests.support.eventually import eventually
from tests.unit.exec_risk.account_desk import SYMBOLS
from tests.unit.exec_risk.simulated_world import SoleLease
from tests.unit.exec_risk.test_exec_shell import World


class WaitingLease(SoleLease):
    """The lease of a standby, until somebody gives it."""

    def __init__(self) -> None:
        self.given = asyncio.Event()

    async def wait(self) -> None:
        await self.given.wait()

    async def keep(self, on_lost: Callable[[], None]) -> None:
        await asyncio.Event().wait()


def price(symbol: str, mark: int, time: int) -> PriceReport:
    return PriceReport(symbol, time, Decimal(mark), Decimal(mark - 1), Decimal(mark + 1))


async def test_prices_told_on_standby_are_known_to_the_term_that_begins() -> None:
    """Spread and funding rules refuse what they do not know: a take-over must not forget it."""
    world, lease = World(0, 0.0), WaitingLease()
    leader = Leader(exchange=world.exchange, lease=lease, new_term=world._term)
    tasks = [asyncio.create_task(leader.listen()), asyncio.create_task(leader.run())]
    time = world.exchange.time
    for symbol in SYMBOLS:
        world.exchange.inbox.put_nowait(price(symbol, 90, time))
        world.exchange.inbox.put_nowait(price(symbol, 100, time + 1_000))
    await eventually(world.exchange.inbox.empty)
    await asyncio.sleep(0)
    lease.given.set()

    def known() -> bool:
        term = leader.term
        if term is None or not term.ready:
            return False
        quotes = term.trader.book.executing.quotes
        return all(s in quotes and quotes[s].bid == Decimal(99) for s in SYMBOLS)

    await eventually(known)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
