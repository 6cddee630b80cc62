"""What a step's span is called, which trace it belongs to and what it tells."""

from __future__ import annotations

import re
from typing import Any

from services.exec_risk.core import effects as fx
from services.exec_risk.core.exchange_events import FillReport, OrderReport, PointReached
from services.exec_risk.core.inputs import (
    CancelAnswered,
    OrderFound,
    PlaceAnswered,
    PredictionsArrived,
    RoundOpened,
    RoundTimedOut,
)
from services.exec_risk.core.state import Book
from services.exec_risk.core.trader import Event

ROUND = (PredictionsArrived, RoundOpened, PointReached, RoundTimedOut)
"""Events by which a round may be decided."""
_OF_ORDER = (PlaceAnswered, CancelAnswered, OrderFound, OrderReport)
_NAMES: dict[type, str] = {**dict.fromkeys(ROUND, "decide round"), FillReport: "apply fill"}
_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


def name(event: Event) -> str:
    """Return the name of the step that an event makes."""
    known = _NAMES.get(type(event))
    return known or _WORDS.sub(" ", type(event).__name__).lower()


def trace_of(effect: fx.Effect, book: Book) -> str:
    """Return the trace id of an effect; '' when it has none."""
    if isinstance(effect, fx.PositionOpened | fx.PositionChanged | fx.PositionClosed):
        return effect.position.trace_id
    if isinstance(effect, fx.Place | fx.Cancel | fx.Resolve):
        return book.trace(effect.order.position_id)
    if isinstance(effect, fx.StorePlan):
        return effect.plan.trace_id
    return getattr(effect, "trace_id", "")


def position_id(effect: fx.Effect) -> str:
    """Return the position that an effect is about; '' when none."""
    if isinstance(effect, fx.FillRecorded | fx.FundingPaid):
        return effect.position_id
    for holder in ("order", "position", "execution", "plan"):
        if (held := getattr(effect, holder, None)) is not None:
            return str(held.position_id)
    return ""


def order_id(event: Event) -> str:
    """Return the order that an event is about; '' when none."""
    if isinstance(event, FillReport):
        return event.fill.client_order_id
    return event.client_order_id if isinstance(event, _OF_ORDER) else ""


def attributes(effect: fx.Effect) -> dict[str, Any]:
    """Return what a step's span tells of an effect."""
    match effect:
        case fx.RiskDecided():
            return {
                "quantum.signal_id": effect.signal_id,
                "quantum.symbol": effect.symbol,
                "quantum.risk.approved": effect.approved,
                "quantum.risk.rule": effect.rule,
                "quantum.risk.reason": effect.reason,
            }
        case fx.FillRecorded(fill=fill):
            return {
                "quantum.client_order_id": fill.client_order_id,
                "quantum.symbol": fill.symbol,
                "quantum.trade_id": str(fill.trade_id),
                "quantum.fill.price": str(fill.price),
                "quantum.fill.quantity": str(fill.quantity),
            }
        case fx.OrderChanged(order=order):
            return {
                "quantum.client_order_id": order.client_order_id,
                "quantum.symbol": order.symbol,
                "quantum.order.state": order.state.value,
            }
        case fx.PositionOpened(position=position):
            return {"quantum.position_id": position.position_id}
        case fx.PositionClosed(position=position):
            return {
                "quantum.position_id": position.position_id,
                "quantum.exit_reason": str(position.exit_reason),
            }
        case _:
            return {}
