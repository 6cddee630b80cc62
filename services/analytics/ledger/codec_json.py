"""Messages as JSON text, the same as protobuf's own writer gives, many times faster.

The sink writes every event as JSON too. protobuf's writer walks descriptors in Python for each
message; here the walk is done once a type. It leaves one expression that is the whole text with
the fields in their places, compiled as dataclasses compile their constructors: half the time of a
list of functions that are called in turn.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache, lru_cache
from json.encoder import encode_basestring_ascii as _text
from keyword import iskeyword
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

Writer = Callable[[Any], str]

_WIDE = {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64}
_FLOATS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}
_NARROW = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32}
_TIMESTAMP = "google.protobuf.Timestamp"
_EPOCH = date(1970, 1, 1)
_MINUTES = [f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(1440)]
_TIMES = 4096
"""Moments whose text is kept: the events of one batch share a few."""
_BOOLS = {True: "true", False: "false"}


def to_json(message: Message) -> str:
    """Write a message with the contract's field names, defaults included.

    ValueError when it holds a value that JSON cannot, such as a time beyond the year 9999.
    """
    return _of_message(message.DESCRIPTOR)(message)


@cache
def _of_message(descriptor: Descriptor) -> Writer:
    if descriptor.full_name == _TIMESTAMP:
        return _time
    if descriptor.full_name.startswith("google.protobuf."):
        return lambda message: json.dumps(MessageToDict(message), separators=(",", ":"))
    known: dict[str, Any] = {
        "text": _text, "bools": _BOOLS, "odd": _odd, "finite": math.isfinite, "moment": _moment,
    }  # fmt: skip
    body = _body(descriptor, known)
    # Only the contracts' own names stand in it.
    made: Writer = eval(f"lambda message: '{{' + {body} + '}}'", known)  # noqa: S307
    return made


def _body(descriptor: Descriptor, known: dict[str, Any]) -> str:
    """Return the expression of a message's fields, in the order that `jsonb` sorts them into.

    What stands in order already costs PostgreSQL less: sorting was 6 % of its work.
    """
    parts: list[str] = []
    always = False
    for field in sorted(descriptor.fields, key=lambda f: (len(f.name), f.name)):
        name = _text(field.name)
        if _present_only(field):
            pair = f"{name}:{_one_in_text(field, _read(field), known)}"
            first = not always and any(not _present_only(f) for f in descriptor.fields)
            told = f"{pair}," if first else f",{pair}"
            parts.append(f"(f'{told}' if message.HasField({name}) else '')")
            continue
        part = f"f'{',' if always else ''}{name}:{_in_text(field, known)}'"
        if parts and parts[-1].startswith("f"):
            parts[-1] += f" {part}"
        else:
            parts.append(part)
        always = True
    text = " + ".join(parts) or "''"
    return text if always else f"({text})[1:]"


def _in_text(field: FieldDescriptor, known: dict[str, Any]) -> str:
    """Return what stands for a field in the text; what it needs becomes known by name."""
    read, name = _read(field), f"w{field.number}"
    if not field.is_repeated:
        return _one_in_text(field, read, known)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        known[name] = _of_map(field.message_type)
        return f"{{{name}({read})}}"
    known[name] = _of_value(field)
    # A slice is a list, which is walked faster than what protobuf holds; most lists are empty.
    return f'[{{",".join(map({name}, some[:])) if (some := {read}) else ""}}]'


def _one_in_text(field: FieldDescriptor, read: str, known: dict[str, Any]) -> str:
    name = f"w{field.number}"
    if field.enum_type is not None:
        known[name] = _names_of(field.enum_type)
        return f"{{{name}[{read}]}}"
    if field.type == FieldDescriptor.TYPE_STRING:
        return f"{{text({read})}}"
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return f"{{bools[{read}]}}"
    if field.cpp_type in _WIDE:
        return f'"{{{read}}}"'
    if field.cpp_type in _NARROW:
        return f"{{{read}}}"
    if field.cpp_type in _FLOATS:
        return f"{{(repr if finite(value := {read}) else odd)(value)}}"
    if field.message_type is not None and field.message_type.full_name == _TIMESTAMP:
        return f"{{moment((time := {read}).seconds, time.nanos)}}"
    known[name] = _of_value(field)
    return f"{{{name}({read})}}"


def _read(field: FieldDescriptor) -> str:
    if iskeyword(field.name):
        return f"getattr(message, {_text(field.name)})"
    return f"message.{field.name}"


def _present_only(field: FieldDescriptor) -> bool:
    return bool(field.has_presence) and not field.is_repeated


def _of_map(entry: Descriptor) -> Writer:
    value = _of_value(entry.fields_by_name["value"])
    key = _text if entry.fields_by_name["key"].cpp_type == FieldDescriptor.CPPTYPE_STRING else _key
    # Pairs of a protobuf map cost twice what its keys and look-ups do.
    return lambda entries: "{" + ",".join([f"{key(k)}:{value(entries[k])}" for k in entries]) + "}"


def _key(key: Any) -> str:
    return _text(_BOOLS[key] if isinstance(key, bool) else str(key))


def _of_value(field: FieldDescriptor) -> Writer:
    if field.message_type is not None:
        # No message of the contracts holds its own kind.
        return _of_message(field.message_type)
    if field.enum_type is not None:
        return _names_of(field.enum_type).__getitem__
    if field.cpp_type in _FLOATS:
        return lambda value: repr(value) if math.isfinite(value) else _odd(value)
    if field.cpp_type in _WIDE:
        return '"%d"'.__mod__
    if field.cpp_type in _NARROW:
        return str
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _BOOLS.__getitem__
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text
    raise TypeError(f"{field.full_name}: events hold no fields of this kind")


def _names_of(enum: EnumDescriptor) -> _Names:
    values = enum.values_by_number
    return _Names({number: _text(value.name) for number, value in values.items()})


class _Names(dict[int, str]):
    """Names of an enum's numbers; a number that the contract does not know stands for itself."""

    def __missing__(self, number: int) -> str:
        return str(number)


def _odd(value: float) -> str:
    return '"NaN"' if math.isnan(value) else ('"Infinity"' if value > 0 else '"-Infinity"')


def _time(time: Timestamp) -> str:
    return _moment(time.seconds, time.nanos)


@lru_cache(maxsize=_TIMES)
def _moment(seconds: int, nanos: int) -> str:
    if nanos % 1_000_000 or not 0 <= nanos < 1_000_000_000:
        return _text(Timestamp(seconds=seconds, nanos=nanos).ToJsonString())
    day, second = divmod(seconds, 86_400)
    text = f"{_day(day)}T{_MINUTES[second // 60]}:{second % 60:02d}"
    return f'"{text}.{nanos // 1_000_000:03d}Z"' if nanos else f'"{text}Z"'


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    try:
        return (_EPOCH + timedelta(days=number)).isoformat()
    except OverflowError as error:
        raise ValueError(f"day {number} since 1970 is out of range") from error
