"""What follows when the core fails: it is told, entries stop, and exits go on from what is stored.

A step that failed may have changed half of the book, so the book is thrown away and read back as
the last commit left it; the exchange is then read whole and compared.
"""

from __future__ import annotations

from collections import deque

from services.exec_risk.core.facts import Alert
from services.exec_risk.core.state import Book
from services.exec_risk.core.trader import Event
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

_SHOWN = 400
"""Characters of an event in an alert; the log has all of it."""


class CoreBroken(Exception):
    """The core failed again and again; a new process is the last thing to try."""


class CoreFaults:
    """Counts failures of the core; `limit` of them within `window` seconds are too many."""

    def __init__(self, clock: Clock, *, limit: int = 5, window: float = 60.0) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._times: deque[float] = deque(maxlen=limit)
        self.reason = ""
        """What failed last; empty while nothing did, and after `reset`."""

    def caught(self, event: Event, error: Exception, book: Book) -> Alert:
        """Log the event with its content and return the alert that tells of it."""
        log.critical("core_exception", exc_info=error, error=str(error), event_content=repr(event))
        text = f"{type(error).__name__} in {type(event).__name__}: {error}"
        return self._noted(text, event, book)

    def isolated(self, event: Event, book: Book) -> list[Alert]:
        """Take the failures that the core kept to one symbol each."""
        failed, book.failed = book.failed, []
        for text in failed:
            log.critical("core_exception", error=text, event_content=repr(event))
        return [self._noted(text, event, book) for text in failed]

    def check(self) -> None:
        """Raise CoreBroken when it was too much; only after it was told."""
        first = self._times[0] if len(self._times) == self._limit else None
        if first is not None and self._clock.monotonic() - first <= self._window:
            raise CoreBroken(self.reason)

    def reset(self) -> None:
        """A person has looked at it."""
        self.reason = ""
        self._times.clear()

    def _noted(self, text: str, event: Event, book: Book) -> Alert:
        self._times.append(self._clock.monotonic())
        self.reason = text[:_SHOWN]
        return Alert(
            severity="CRITICAL",
            alert_type="CORE_EXCEPTION",
            message=f"{self.reason}; event {repr(event)[:_SHOWN]}",
            time=book.time,
            symbol=getattr(event, "symbol", ""),
            action_taken="STOP_ENTRIES",
            open_positions=len(book.positions),
        )


def carry_over(old: Book, new: Book) -> Book:
    """Give a book that was read back what only the exchange and the process know."""
    new.time = max(old.time, new.time)
    new.gates, new.connected, new.in_sample = old.gates, old.connected, old.in_sample
    new.filters, new.leverage = dict(old.filters), dict(old.leverage)
    new.prices.update(old.prices)
    new.quotes.update(old.quotes)
    new.executing.quotes.update(old.executing.quotes)
    new.priced = max(old.priced, new.priced)
    # the new one will ask for them again, and no answer tells which of both arrived
    new.leaving |= old.leaving | old.cancelling
    return new
