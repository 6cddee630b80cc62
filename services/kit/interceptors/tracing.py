"""Spans of calls. Whether one is written is decided at its end: a failed one always is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from services.catalog.subjects import HEADER_TRACE
from services.kit.interceptors.metrics import code_name, code_number
from services.kit.interceptors.wrap import Call, WrappingInterceptor
from services.kit.observe.telemetry import SpanKind, Telemetry, now
from services.kit.observe.trace_context import TraceContext, parse, within

_SERVER_FAULTS = frozenset(
    ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
)
"""Codes that make a server's span an error; others are the caller's own doing."""
_NO_FAILURE = frozenset(("OK", "CANCELLED"))
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
"""Asked all the time: written only when the caller's flag is up."""


class TracingInterceptor(WrappingInterceptor):
    """Continues the caller's trace, or begins one that is written only if the call fails."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def wraps(self, method: str) -> bool:
        """Also trace health checks, whose callers raise the flag when an answer is new."""
        return method == _HEALTH_CHECK or super().wraps(method)

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Trace one call."""
        return self._trace(call)

    @asynccontextmanager
    async def _trace(self, call: Call) -> AsyncIterator[None]:
        parent = _parent(call.context)
        place = parent.child() if parent else TraceContext.new(sampled=False)
        began, code = now(), "OK"
        try:
            with within(place):
                yield
        except BaseException:
            code = code_name(call)
            raise
        finally:
            failed = code not in _NO_FAILURE and call.method != _HEALTH_CHECK
            if place.sampled or failed:
                self._write(call, place, parent, began, code)

    def _write(
        self, call: Call, place: TraceContext, parent: TraceContext | None, began: int, code: str
    ) -> None:
        _, service, method = call.method.split("/")
        self._telemetry.write(
            f"{service}/{method}",
            place,
            parent=parent,
            start=began,
            end=now(),
            kind=SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": method,
                "rpc.grpc.status_code": code_number(code),
            },
            error=code if code in _SERVER_FAULTS else "",
        )


def _parent(context: Any) -> TraceContext | None:
    for key, value in context.invocation_metadata() or ():
        if key == HEADER_TRACE and isinstance(value, str):
            return parse(value)
    return None
