"""Reading the exchange: from when on, and until it answers."""

from __future__ import annotations

from collections.abc import Callable

from services.exec_risk.core.exchange_events import ExchangeSnapshot
from services.exec_risk.core.state import Book
from services.exec_risk.seams import Exchange
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.trade.filters import SymbolFilters
from services.trade.times import HOUR_MS

log = get_logger(__name__)

_RETRY_SECONDS = 0.2


async def read(
    exchange: Exchange, clock: Clock, since: Callable[[], int]
) -> tuple[dict[str, SymbolFilters], ExchangeSnapshot]:
    """Return filters and everything that the exchange holds; asks until it has answered."""
    while True:
        try:
            return await exchange.filters(), await exchange.snapshot(since())
        except Exception as error:  # noqa: BLE001 - unknown, so it is asked again
            # an exchange that does not answer is unknown, never flat: wait for it
            log.warning("exchange_not_read", error=str(error))
            await clock.sleep(_RETRY_SECONDS)


def fills_since(book: Book, clock: Clock) -> int:
    """Return the market time from which fills may have been missed."""
    if not book.time:
        return int(clock.now().timestamp() * 1000) - HOUR_MS
    return book.unread_from()
