"""The trace of an operator's command: its root here, a span of each call, exported at the end."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from typing import Any

import grpc

from services.catalog.processes import VERSION
from services.catalog.subjects import HEADER_TRACE
from services.ctl.supervisor.home import Home, read_json
from services.kit.observe.telemetry import SpanKind, Telemetry, now
from services.kit.observe.trace_context import TraceContext, outgoing_headers, within

_SERVICE = "qt"


class TracedChannel:
    """A channel whose unary calls carry the trace; streams are left as they are."""

    def __init__(self, channel: grpc.aio.Channel, telemetry: Telemetry) -> None:
        self._channel = channel
        self._telemetry = telemetry

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Return the call of a method."""
        ask: Any = self._channel.unary_unary(method, *arguments, **options)

        async def traced(request: Any, *, timeout: float) -> Any:
            _, service, name = method.split("/")
            attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
            with self._telemetry.span(
                f"{service}/{name}", kind=SpanKind.CLIENT, attributes=attributes
            ) as draft:
                metadata = [(HEADER_TRACE, v) for v in outgoing_headers().values()]
                try:
                    return await ask(request, timeout=timeout, metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    if draft is not None:
                        draft.attributes["rpc.grpc.status_code"] = error.code().value[0]
                        draft.error = f"{error.code().name} {error.details()}"
                    raise

        return traced

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


@contextlib.contextmanager
def operator_trace(home: Home) -> Iterator[Telemetry]:
    """Make what is done a trace named after the command; where no store runs nothing is written."""
    endpoint = str(read_json(home.endpoints_file).get("traces", ""))
    telemetry = Telemetry(
        service=_SERVICE, instance=f"{_SERVICE}-{os.getpid()}", version=VERSION, endpoint=endpoint
    )
    root, began, error = TraceContext.new(sampled=telemetry.writes), now(), ""
    try:
        with within(root):
            yield telemetry
    except grpc.aio.AioRpcError as refused:
        error = f"{refused.code().name} {refused.details()}"
        raise
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        telemetry.write(_title(), root, start=began, end=now(), error=error)
        telemetry.close()


def _title() -> str:
    words = itertools.takewhile(str.isalpha, sys.argv[1:3])
    return " ".join((_SERVICE, *words))
