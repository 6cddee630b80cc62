"""Facts of the core as messages for the outbox."""

from __future__ import annotations

from services.catalog import events, subjects
from services.catalog.processes import EXEC_RISK
from services.exec_risk.core import effects as fx
from services.exec_risk.messages import account as account_messages
from services.exec_risk.messages import trade as trade_messages
from services.exec_risk.messages.parts import Scope
from services.kit.bus.message import Outgoing
from services.kit.observe.trace_context import TraceContext, traceparent
from services.trade import ids


def encode(
    fact: fx.Fact | fx.AccountSnapshot,
    account: str,
    venue: str,
    place: TraceContext | None = None,
) -> Outgoing:
    """Write a fact with a message id derived from what it names, and where its trace stands."""
    message, key, time, trace, named = _ENCODERS[type(fact)](fact, Scope(account, venue))
    event_type = events.TYPES[type(message)]
    message_id = ids.digest(event_type, account, *named)
    headers = {
        subjects.HEADER_TYPE: event_type,
        subjects.HEADER_SOURCE: EXEC_RISK.name,
        subjects.HEADER_TIME: str(time),
    }
    if place is not None:
        headers[subjects.HEADER_TRACE] = place.header()
    elif trace:
        headers[subjects.HEADER_TRACE] = traceparent(trace, message_id[:16])
    return Outgoing(
        subjects.event(event_type, account, key), message.SerializeToString(), message_id, headers
    )


_ENCODERS = {**trade_messages.ENCODERS, **account_messages.ENCODERS}
