"""A desk whose signals and callers are executed by a strategy, and what it has sent."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.exec_risk.core.policy import Policy
from services.trade.execution import (
    Execution,
    ExecutionStrategy,
)
from services.trade.order import Order, OrderPurpose, Side, TimeInForce
from tests.unit.exec_risk.account_desk import Desk, signal_of

D = Decimal
ENTRY = OrderPurpose.ENTRY
BTC = "BTCUSDT"


def desk_of(strategy: ExecutionStrategy, **values: object) -> Desk:
    """A desk whose signals are executed so."""
    policy = ExecutionPolicy(entry_strategy=strategy)
    return Desk(Policy(execution=replace(policy, **values)))  # type: ignore[arg-type]


def enter_by_signal(desk: Desk, side: Side = Side.BUY) -> Order:
    """Give a signal; return the first order."""
    desk.round(signal_of(BTC, side, desk.time))
    return desk.placed(ENTRY)[-1]


def submitted(
    desk: Desk, strategy: ExecutionStrategy, rests: TimeInForce = TimeInForce.GTC
) -> Order:
    """Submit a BUY of 1 BTC; return the first order."""
    desk.round()
    command = inputs.SubmitExecution(
        "r", BTC, Side.BUY, strategy, quantity=D(1), time_in_force=rests
    )
    desk.tell(command)
    return desk.placed(ENTRY)[-1]


def price(desk: Desk, last: str, seconds: int, *, bid: str = "", ask: str = "") -> None:
    """Let market time pass, with a price."""
    desk.time += seconds * 1000
    quoted = [D(p) if p else None for p in (bid, ask)]
    desk.tell(ex.PriceReport(BTC, desk.time, D(last), quoted[0], quoted[1]))


def the_execution(desk: Desk) -> Execution:
    """The one execution."""
    (found,) = desk.book.executing.all.values()
    return found


def entries(desk: Desk) -> list[Order]:
    """Entry orders sent so far."""
    return desk.placed(ENTRY)


def cancels(desk: Desk) -> list[str]:
    """Client ids whose cancel was asked for."""
    return [e.order.client_order_id for e in desk.effects if isinstance(e, fx.Cancel)]
