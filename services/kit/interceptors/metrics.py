"""Counts and times calls, with the names of go-grpc-prometheus behind the process's prefix."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpc

from services.kit.interceptors.wrap import Call, WrappingInterceptor
from services.kit.observe.metrics import Metrics
from services.kit.observe.trace_context import exemplar


class MetricsInterceptor(WrappingInterceptor):
    """`grpc_server_handled_total` by code and `grpc_server_handling_seconds`."""

    def __init__(self, metrics: Metrics) -> None:
        self._received = metrics.counter("rpc_calls_received_total", "Calls received.")
        self._handled = metrics.counter(
            "grpc_server_handled_total",
            "Calls completed, by status code.",
            ("grpc_service", "grpc_method", "grpc_code"),
        )
        self._seconds = metrics.histogram(
            "grpc_server_handling_seconds",
            "Time from a call's arrival to its end.",
            ("grpc_service", "grpc_method"),
        )

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Count and time one call."""
        return self._measure(call)

    @asynccontextmanager
    async def _measure(self, call: Call) -> AsyncIterator[None]:
        _, service, method = call.method.split("/")
        self._received.inc()
        started = time.perf_counter()
        code = "OK"
        try:
            yield
        except BaseException:
            code = code_name(call)
            raise
        finally:
            self._handled.labels(service, method, code).inc()
            self._seconds.labels(service, method).observe(
                time.perf_counter() - started, exemplar(written=code not in ("OK", "CANCELLED"))
            )


def code_name(call: Call) -> str:
    """Return the name of the code that a call ended with; CANCELLED when nobody set one."""
    code = call.context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    for candidate in grpc.StatusCode:
        if candidate.value[0] == code and code:
            return candidate.name
    return "CANCELLED"


def code_number(name: str) -> int:
    """Return the number of a code."""
    return int(grpc.StatusCode[name].value[0])
