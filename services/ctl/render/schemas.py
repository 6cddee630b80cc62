"""Messages of the contracts as JSON Schema, in the form that the transcoder speaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

Kind = FieldDescriptorProto.Type
MESSAGES, ENUMS, FIELDS, NESTED, VALUES = 4, 5, 2, 3, 2
"""Field numbers by which comments are found: messages and enums of a file, and what is in them."""
WELL_KNOWN: Mapping[str, dict[str, Any]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?s$"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
    },
}
PLAIN: Mapping[int, dict[str, Any]] = {
    Kind.TYPE_DOUBLE: {"type": ["number", "string"], "format": "double"},
    Kind.TYPE_FLOAT: {"type": ["number", "string"], "format": "float"},
    Kind.TYPE_INT32: {"type": "integer", "format": "int32"},
    Kind.TYPE_SINT32: {"type": "integer", "format": "int32"},
    Kind.TYPE_UINT32: {"type": "integer", "format": "int64", "minimum": 0},
    # 64 bits do not fit into JavaScript's numbers: they travel as strings
    Kind.TYPE_INT64: {"type": "string", "format": "int64"},
    Kind.TYPE_SINT64: {"type": "string", "format": "int64"},
    Kind.TYPE_UINT64: {"type": "string", "format": "uint64"},
    Kind.TYPE_BOOL: {"type": "boolean"},
    Kind.TYPE_STRING: {"type": "string"},
    Kind.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
Comments = Mapping[tuple[int, ...], str]


def comments_of(file: FileDescriptorProto) -> Comments:
    """Return the comments of a file by the path of what they stand before."""
    return {
        tuple(place.path): " ".join(place.leading_comments.split())
        for place in file.source_code_info.location
        if place.leading_comments
    }


class Schemas:
    """Schemas of all messages; those that were asked for are written into the document."""

    def __init__(self, contracts: FileDescriptorSet) -> None:
        """Know every message and enum of the contracts."""
        self._messages: dict[str, DescriptorProto] = {}
        self._enums: dict[str, EnumDescriptorProto] = {}
        self._texts: dict[str, str] = {}
        self._asked: dict[str, dict[str, Any]] = {}
        for file in contracts.file:
            comments = comments_of(file)
            for number, message in enumerate(file.message_type):
                self._know(message, file.package, (MESSAGES, number), comments)
            for number, enum in enumerate(file.enum_type):
                self._know_enum(enum, file.package, (ENUMS, number), comments)

    def _know(
        self, message: DescriptorProto, within: str, path: tuple[int, ...], comments: Comments
    ) -> None:
        full = f"{within}.{message.name}"
        self._messages[full] = message
        self._texts[full] = comments.get(path, "")
        for number, field in enumerate(message.field):
            self._texts[f"{full}.{field.name}"] = comments.get((*path, FIELDS, number), "")
        for number, nested in enumerate(message.nested_type):
            self._know(nested, full, (*path, NESTED, number), comments)
        for number, enum in enumerate(message.enum_type):
            self._know_enum(enum, full, (*path, ENUMS - 1, number), comments)

    def _know_enum(
        self, enum: EnumDescriptorProto, within: str, path: tuple[int, ...], comments: Comments
    ) -> None:
        full = f"{within}.{enum.name}"
        self._enums[full] = enum
        self._texts[full] = comments.get(path, "")
        for number, value in enumerate(enum.value):
            self._texts[f"{full}.{value.name}"] = comments.get((*path, VALUES, number), "")

    def message(self, name: str) -> DescriptorProto:
        """Return a message by its full name."""
        return self._messages[name.lstrip(".")]

    def text(self, name: str) -> str:
        """Return what the contract says of a message."""
        return self._texts[name.lstrip(".")]

    def written(self) -> dict[str, dict[str, Any]]:
        """Return every schema that was referred to, by name."""
        return dict(sorted(self._asked.items()))

    def reference(self, name: str) -> dict[str, Any]:
        """Return a reference to a message or enum, which is then written."""
        full = name.lstrip(".")
        if full in WELL_KNOWN:
            return dict(WELL_KNOWN[full])
        if full not in self._asked:
            self._asked[full] = {}  # a message may hold itself
            known = full in self._enums
            self._asked[full] = self._enum(full) if known else self.without(full, ())
        return {"$ref": f"#/components/schemas/{full}"}

    def without(self, name: str, left_out: Sequence[str]) -> dict[str, Any]:
        """Return the schema of a message without some of its fields."""
        full = name.lstrip(".")
        message = self._messages[full]
        fields = [field for field in message.field if field.name not in left_out]
        made: dict[str, Any] = {
            "type": "object",
            "description": self._texts[full],
            "properties": {field.name: self._field(full, field) for field in fields},
        }
        needed = [field.name for field in fields if self.required(field)]
        return {**made, "required": needed} if needed else made

    def field(self, message: DescriptorProto, field: FieldDescriptorProto) -> dict[str, Any]:
        """Return the schema of one field."""
        [full] = [name for name, known in self._messages.items() if known is message]
        return self._field(full, field)

    def required(self, field: FieldDescriptorProto) -> bool:
        """Tell whether the contract asks for the field."""
        behaviours = field.options.Extensions[field_behavior_pb2.field_behavior]
        rules = field.options.Extensions[validate_pb2.field]
        return field_behavior_pb2.REQUIRED in behaviours or rules.required

    def _field(self, owner: str, field: FieldDescriptorProto) -> dict[str, Any]:
        text = self._texts.get(f"{owner}.{field.name}", "")
        described = {"description": text} if text else {}
        entry = self._messages.get(field.type_name.lstrip("."))
        if entry is not None and entry.options.map_entry:
            value = self._single(entry.field[1])
            return {"type": "object", "additionalProperties": value, **described}
        single = self._single(field)
        rules = field.options.Extensions[validate_pb2.field]
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            items = {**single, **_rules(rules.repeated.items)}
            return {"type": "array", "items": items, **_rules(rules), **described}
        return {**single, **_rules(rules), **described}

    def _single(self, field: FieldDescriptorProto) -> dict[str, Any]:
        if field.type in (Kind.TYPE_MESSAGE, Kind.TYPE_ENUM):
            return self.reference(field.type_name)
        return dict(PLAIN[field.type])

    def _enum(self, full: str) -> dict[str, Any]:
        enum = self._enums[full]
        texts = [f"{v.name}: {self._texts[f'{full}.{v.name}']}" for v in enum.value]
        return {
            "type": "string",
            "description": " ".join([self._texts[full], *texts]).strip(),
            "enum": [value.name for value in enum.value],
        }


def _rules(rules: validate_pb2.FieldRules) -> dict[str, Any]:
    """Return the rules that JSON Schema can say; the service checks all of them."""
    kind = rules.WhichOneof("type")
    if kind is None:
        return {}
    held: Any = getattr(rules, kind)
    set_ = {field.name: value for field, value in held.ListFields()}
    if kind == "string":
        return _said(set_, pattern="pattern", min_len="minLength", max_len="maxLength")
    if kind == "repeated":
        return _said(set_, min_items="minItems", max_items="maxItems", unique="uniqueItems")
    if kind in ("int32", "uint32", "double", "float"):
        names = {"gte": "minimum", "lte": "maximum", "gt": "exclusiveMinimum"}
        return _said(set_, **names, lt="exclusiveMaximum")
    return {}


def _said(found: Mapping[str, Any], **names: str) -> dict[str, Any]:
    said = {ours: found[theirs] for theirs, ours in names.items() if theirs in found}
    return {**said, "enum": list(found["in"])} if "in" in found else said
