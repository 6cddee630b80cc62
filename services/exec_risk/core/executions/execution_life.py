"""The life of an execution: which step may follow which, by name.

OPEN sends by its strategy, LAST has sent its last try, STOPPING and FAILING send nothing and wait
for the end of what is under way. Only then is the execution over.
"""

from __future__ import annotations

from services.exec_risk.core.orders.lifecycle import IllegalTransition
from services.trade.execution import Execution, ExecutionPhase, ExecutionState
from services.trade.order import Fill
from services.trade.values import with_values

P, S = ExecutionPhase, ExecutionState

PHASES: dict[tuple[ExecutionPhase, ExecutionPhase], str] = {
    (P.OPEN, P.LAST): "last_try",
    (P.OPEN, P.STOPPING): "stop",
    (P.LAST, P.STOPPING): "stop",
    (P.OPEN, P.FAILING): "fail",
    (P.LAST, P.FAILING): "fail",
}
"""Every legal step while it works, and its name."""

ENDS: dict[tuple[ExecutionPhase, ExecutionState], str] = {
    (P.OPEN, S.DONE): "complete",
    (P.LAST, S.DONE): "complete",
    (P.STOPPING, S.DONE): "complete",
    (P.FAILING, S.DONE): "complete",
    (P.STOPPING, S.CANCELED): "end_short",
    (P.FAILING, S.CANCELED): "end_short",
    (P.FAILING, S.FAILED): "end_with_nothing",
}
"""Every legal end and its name."""


def enter(execution: Execution, phase: ExecutionPhase, *, time: int, reason: str) -> Execution:
    """Return the execution in its next phase; IllegalTransition when there is no such step."""
    if execution.state.final or (execution.phase, phase) not in PHASES:
        raise IllegalTransition(f"{execution.execution_id}: {execution.phase} -> {phase}")
    return changed(execution, time=time, phase=phase, reason=reason or execution.reason)


def end(execution: Execution, *, time: int) -> Execution:
    """Return the execution at its end; IllegalTransition while it may still send."""
    if execution.filled_quantity >= execution.quantity:
        state = S.DONE
    elif execution.phase is P.FAILING and not execution.filled_quantity:
        state = S.FAILED
    else:
        state = S.CANCELED
    if execution.state.final or (execution.phase, state) not in ENDS:
        raise IllegalTransition(f"{execution.execution_id}: {execution.phase} -> {state}")
    return changed(execution, time=time, state=state)


def with_fill(execution: Execution, fill: Fill) -> Execution:
    """Return the execution with a fill added. A fill is never refused, whatever the state."""
    return changed(
        execution,
        time=fill.time,
        filled_quantity=execution.filled_quantity + fill.quantity,
        filled_cost=execution.filled_cost + fill.price * fill.quantity,
    )


def changed(execution: Execution, *, time: int, **values: object) -> Execution:
    """Return the execution with other values; its version rises when it is told."""
    return with_values(execution, updated_time=max(time, execution.updated_time), **values)
