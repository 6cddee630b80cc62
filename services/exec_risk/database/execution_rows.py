"""Between executions and volume profiles and their rows."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from services.exec_risk.core.executions.volume_profile import VolumeProfile
from services.exec_risk.database.rows import Row
from services.trade.execution import (
    Execution,
    ExecutionPhase,
    ExecutionState,
    ExecutionStrategy,
    Slice,
)
from services.trade.order import Side, TimeInForce
from services.trade.times import from_datetime, to_datetime

EXECUTION_COLUMNS = (
    "execution_id, account, symbol, side, strategy, state, phase, quantity, filled_quantity,"
    " filled_cost, reference_price, expected_impact, max_slippage, reduce_only, limit_price,"
    " time_in_force, schedule, slices_sent, display_quantity, orders, child, withdrawing,"
    " refusals, signal_id, position_id, reason, started_at, deadline_at, next_at, updated_at,"
    " version"
)
VOLUME_COLUMNS = "account, symbol, candle_ms, volume, spread, hours, updated_at"


def execution_values(execution: Execution) -> tuple[Any, ...]:
    """Return the values of EXECUTION_COLUMNS."""
    return (
        execution.execution_id,
        execution.account,
        execution.symbol,
        execution.side.value,
        execution.strategy.value,
        execution.state.value,
        execution.phase.value,
        execution.quantity,
        execution.filled_quantity,
        execution.filled_cost,
        execution.reference_price,
        execution.expected_impact,
        execution.max_slippage,
        execution.reduce_only,
        execution.limit_price,
        execution.time_in_force.value,
        [[part.time, str(part.quantity)] for part in execution.schedule],
        execution.slices_sent,
        execution.display_quantity,
        execution.orders,
        execution.child,
        execution.withdrawing,
        execution.refusals,
        execution.signal_id,
        execution.position_id,
        execution.reason,
        to_datetime(execution.started_time),
        to_datetime(execution.deadline_time),
        to_datetime(execution.next_time),
        to_datetime(execution.updated_time),
        execution.version,
    )


def execution_of(row: Row) -> Execution:
    """Read an execution."""
    return Execution(
        execution_id=row["execution_id"],
        account=row["account"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        strategy=ExecutionStrategy(row["strategy"]),
        state=ExecutionState(row["state"]),
        phase=ExecutionPhase(row["phase"]),
        quantity=row["quantity"],
        filled_quantity=row["filled_quantity"],
        filled_cost=row["filled_cost"],
        reference_price=row["reference_price"],
        expected_impact=row["expected_impact"],
        max_slippage=row["max_slippage"],
        reduce_only=row["reduce_only"],
        limit_price=row["limit_price"],
        time_in_force=TimeInForce(row["time_in_force"]),
        schedule=tuple(Slice(t, Decimal(q)) for t, q in json.loads(row["schedule"])),
        slices_sent=row["slices_sent"],
        display_quantity=row["display_quantity"],
        orders=row["orders"],
        child=row["child"],
        withdrawing=row["withdrawing"],
        refusals=row["refusals"],
        signal_id=row["signal_id"],
        position_id=row["position_id"],
        reason=row["reason"],
        started_time=from_datetime(row["started_at"]),
        deadline_time=from_datetime(row["deadline_at"]),
        next_time=from_datetime(row["next_at"]),
        updated_time=from_datetime(row["updated_at"]),
        version=row["version"],
    )


def volume_values(profile: VolumeProfile, account: str) -> tuple[Any, ...]:
    """Return the values of VOLUME_COLUMNS."""
    return (
        account,
        profile.symbol,
        profile.candle_ms,
        profile.volume,
        profile.spread,
        [str(volume) for volume in profile.hours],
        to_datetime(profile.time),
    )


def volume_of(row: Row) -> VolumeProfile:
    """Read a volume profile."""
    return VolumeProfile(
        symbol=row["symbol"],
        candle_ms=row["candle_ms"],
        volume=row["volume"],
        spread=row["spread"],
        hours=tuple(row["hours"]),
        time=from_datetime(row["updated_at"]),
    )
