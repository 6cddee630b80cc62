"""A span as it is kept, read from OTLP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

ORDER_ID = "quantum.client_order_id"
_TRACE_BYTES, _SPAN_BYTES = 16, 8
_KINDS = ("", "internal", "server", "client", "producer", "consumer")


@dataclass(frozen=True, slots=True)
class Span:
    """What one process did, from when to when (nanoseconds of wall time)."""

    trace_id: str
    span_id: str
    parent_id: str
    """'' at the root."""
    name: str
    service: str
    instance: str
    kind: str
    start: int
    end: int
    failed: bool
    status: str = ""
    """Why it failed; '' when it did not or did not say."""
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def order_id(self) -> str:
        """Client order id; '' when it is about none."""
        return str(self.attributes.get(ORDER_ID, ""))


def spans_of(request: ExportTraceServiceRequest) -> Iterator[Span]:
    """Read an export; spans with ids of a wrong length are left out, as OTLP says."""
    for group in request.resource_spans:
        resource = _values(group.resource.attributes)
        service = str(resource.get("service.name", "unknown"))
        instance = str(resource.get("service.instance.id", ""))
        for scope in group.scope_spans:
            for told in scope.spans:
                if len(told.trace_id) == _TRACE_BYTES and len(told.span_id) == _SPAN_BYTES:
                    yield _span(told, service, instance)


def _span(told: OtlpSpan, service: str, instance: str) -> Span:
    attributes = _values(told.attributes)
    # a proxy tells the code as text, a service as a number
    code = attributes.get("rpc.grpc.status_code", attributes.get("grpc.status_code", 0))
    failed = told.status.code == Status.STATUS_CODE_ERROR or str(code) not in ("0", "1")
    return Span(
        trace_id=told.trace_id.hex(),
        span_id=told.span_id.hex(),
        parent_id=told.parent_span_id.hex(),
        name=told.name,
        service=service,
        instance=instance,
        kind=_KINDS[told.kind] if told.kind < len(_KINDS) else "",
        start=told.start_time_unix_nano,
        end=max(told.start_time_unix_nano, told.end_time_unix_nano),
        failed=failed,
        status=told.status.message,
        attributes=attributes,
    )


def _values(pairs: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pair: KeyValue
    for pair in pairs:
        found[pair.key] = _value(pair.value)
    return found


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _values(value.kvlist_value.values)
    if kind == "bytes_value":
        return value.bytes_value.hex()
    return getattr(value, kind)
