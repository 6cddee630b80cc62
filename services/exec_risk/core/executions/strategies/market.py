"""MARKET: all of it at once; what an order left over goes on as the next one."""

from __future__ import annotations

from services.exec_risk.core.executions.strategies.steps import GiveUp, Send, Step, View
from services.trade.execution import Execution
from services.trade.order import Order


def step(execution: Execution, child: Order | None, view: View) -> Step | None:
    """Return what is to be done next."""
    if child is not None:
        return None
    if view.time > execution.deadline_time and not execution.reduce_only:
        return GiveUp("its time is over")
    return Send(execution.left, cause="remainder" if execution.orders else "decided")
