"""What a term tells about the traces of its steps; the wiring brings what writes spans of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from services.exec_risk.core.effects import Action, Effect
from services.exec_risk.core.state import Book
from services.exec_risk.core.trader import Event


class Traces(Protocol):
    """Follows events and what they lead to. Never raises and decides nothing."""

    def began(self) -> int:
        """Return the moment (ns) at which an event is handed to the core."""
        ...

    def handled(self, event: Event, effects: Sequence[Effect], book: Book, began: int) -> None:
        """Take in what the core made of an event that was handed to it at `began`."""
        ...

    def acting(self, action: Action) -> AbstractContextManager[None]:
        """Return the context in which an action is to be begun."""
        ...


class NoTraces:
    """For simulations: nothing is followed."""

    def began(self) -> int:
        """No clock is read."""
        return 0

    def handled(self, event: Event, effects: Sequence[Effect], book: Book, began: int) -> None:
        """Take nothing in."""

    def acting(self, action: Action) -> AbstractContextManager[None]:
        """Change nothing."""
        del action
        return nullcontext()
