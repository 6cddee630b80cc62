"""Client spans of HTTP requests, by OpenTelemetry's conventions: paths, never queries or headers,
which hold the key and the signature."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from services.kit.observe.telemetry import SpanKind, Telemetry
from services.kit.observe.trace_context import outgoing_headers


class HttpSpans:
    """Follows requests of one client."""

    def __init__(self, telemetry: Telemetry | None, *, tells_server: bool) -> None:
        """`tells_server`: send our trace context along; only to a venue of our own."""
        self._telemetry = telemetry
        self._tells_server = tells_server

    async def request(
        self,
        url: str,
        method: str,
        headers: Mapping[str, str] | None,
        send: Callable[[Mapping[str, str] | None], Awaitable[Any]],
        status: Callable[[], int | None],
    ) -> Any:
        """Send with these headers, or with ours beside them, inside a span."""
        if self._telemetry is None:
            return await send(headers)
        parts = urlsplit(url)
        with self._telemetry.span(f"{method} {parts.path}", kind=SpanKind.CLIENT) as draft:
            if draft is None:
                return await send(headers)
            draft.attributes |= {
                "http.request.method": method,
                "server.address": parts.hostname or "",
                "url.path": parts.path,
            }
            if parts.port:
                draft.attributes["server.port"] = parts.port
            try:
                ours = outgoing_headers() if self._tells_server else {}
                return await send({**(headers or {}), **ours} if ours else headers)
            finally:
                if (code := status()) is not None:
                    draft.attributes["http.response.status_code"] = code
