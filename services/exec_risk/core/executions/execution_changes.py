"""Keeping a changed execution in the book, to be told once at the end of the step."""

from __future__ import annotations

from services.exec_risk.core.executions import execution_life as life
from services.exec_risk.core.state import Book
from services.trade.execution import Execution, ExecutionPhase


def keep(book: Book, execution: Execution, cause: str) -> Execution:
    """Put a changed execution into the book; the first cause of a step is told."""
    book.executing.put(execution)
    book.executing.untold.setdefault(execution.execution_id, cause)
    return execution


def enter(
    book: Book, execution: Execution, phase: ExecutionPhase, reason: str, cause: str
) -> Execution:
    """Take a legal step to another phase."""
    return keep(book, life.enter(execution, phase, time=book.time, reason=reason), cause)


def fail(book: Book, execution: Execution, reason: str) -> Execution:
    """Send nothing more, because the exchange refused."""
    if not execution.sends:
        return execution
    return enter(book, execution, ExecutionPhase.FAILING, reason, "refused")
