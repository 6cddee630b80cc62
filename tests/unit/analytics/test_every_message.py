"""Whatever a message holds, the bus carries it and the ledger reads it back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message as Protobuf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.analytics.codec import Unreadable, to_event
from services.analytics.ledger.codec_json import to_json
from services.catalog.events import MESSAGES
from tests.integration.analytics.ledger_samples import delivered, outgoing

_NUMBERS: dict[int, Any] = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
}
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def values(field: FieldDescriptor) -> Any:
    """Values of a field; a time within what JSON can write."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return st.binary(max_size=12) if field.type == FieldDescriptor.TYPE_BYTES else _TEXT
    if field.enum_type is not None:
        return st.sampled_from([v.number for v in field.enum_type.values])
    return _NUMBERS[field.cpp_type]


def fill(draw: st.DrawFn, message: Protobuf, depth: int = 3) -> None:
    """Fill a message with anything."""
    described: Any = message.DESCRIPTOR
    if described.full_name == "google.protobuf.Timestamp":
        message.seconds = draw(st.integers(-62_135_596_800, 253_402_300_799))  # type: ignore[attr-defined]
        message.nanos = draw(st.integers(0, 999_999_999))  # type: ignore[attr-defined]
        return
    for field in described.fields:
        if draw(st.integers(0, 3)) == 0:
            continue
        fill_field(draw, message, field, depth)


def fill_field(draw: st.DrawFn, message: Protobuf, field: FieldDescriptor, depth: int) -> None:
    target = getattr(message, field.name)
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        if entry.fields_by_name["value"].message_type is None:
            key = draw(values(entry.fields_by_name["key"]))
            target[key] = draw(values(entry.fields_by_name["value"]))
    elif entry is not None:
        if depth:
            child = target.add() if field.is_repeated else target
            if not field.is_repeated:
                child.SetInParent()
            fill(draw, child, depth - 1)
    elif field.is_repeated:
        target.extend(draw(st.lists(values(field), max_size=3)))
    else:
        setattr(message, field.name, draw(values(field)))


@pytest.mark.parametrize("event_type", sorted(MESSAGES))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_message_is_carried(event_type: str, data: st.DataObject) -> None:
    """Incident 76: a list or nothing in a field made every publication fail, each minute."""
    message = MESSAGES[event_type]()
    data.draw(st.composite(lambda draw: fill(draw, message))())
    sent = outgoing(message)
    assert MESSAGES[event_type].FromString(sent.data).SerializeToString() == sent.data
    told = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert json.loads(to_json(message)) == told
    try:
        event = to_event(delivered(sent, 1))
    except Unreadable:
        return  # what a projection reads must mean something: it is refused by name
    assert MESSAGES[event_type].FromString(event.payload).SerializeToString() == sent.data
