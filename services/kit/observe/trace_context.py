"""Which trace what is being done belongs to: W3C trace context, read defensively.

Whoever does something carries a `TraceContext` in a context variable. Its flag says whether spans
are written. A candle carries an id with the flag down; the flag is raised where the outcome is
known, so what leads to nothing costs nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from services.catalog.subjects import HEADER_TRACE

_TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})"
    r"-(?P<span>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_SAMPLED = 1


@dataclass(slots=True)
class TraceContext:
    """One place in one trace."""

    trace_id: str
    """32 hexadecimal characters, lower case."""
    span_id: str
    """16 hexadecimal characters, lower case."""
    sampled: bool = False
    """True when its spans are written."""

    @classmethod
    def new(cls, *, sampled: bool) -> TraceContext:
        """Begin a trace of its own."""
        return cls(os.urandom(16).hex(), new_span_id(), sampled)

    def child(self, span_id: str = "") -> TraceContext:
        """Return a place below this one."""
        return TraceContext(self.trace_id, span_id or new_span_id(), self.sampled)

    def keep(self) -> None:
        """Raise the flag: what is done here matters, whoever began it."""
        self.sampled = True

    def header(self) -> str:
        """Return the W3C traceparent."""
        return traceparent(self.trace_id, self.span_id, sampled=self.sampled)


_CURRENT: ContextVar[TraceContext | None] = ContextVar("trace_context", default=None)


def new_span_id() -> str:
    """Return a random span id."""
    return os.urandom(8).hex()


def span_id_of(*parts: str | int) -> str:
    """Return the id of a span that others must be able to name without having met it."""
    text = "\x1f".join(str(part) for part in ("span", *parts))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse(header: str) -> TraceContext | None:
    """Read a traceparent; None for whatever W3C does not allow."""
    found = _TRACEPARENT.fullmatch(header.strip())
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    sampled = bool(int(found["flags"], 16) & _SAMPLED)
    return TraceContext(found["trace"], found["span"], sampled)


def context_of(headers: Mapping[str, str]) -> TraceContext | None:
    """Return the place that message headers name; None when there is none or it is malformed."""
    header = headers.get(HEADER_TRACE)
    return parse(header) if header else None


def sampled_context_of(headers: Mapping[str, str]) -> TraceContext | None:
    """Return the place that message headers name if its spans are written; cheap for others."""
    header = headers.get(HEADER_TRACE)
    if not header or header.endswith("-00"):
        return None
    found = parse(header)
    return found if found is not None and found.sampled else None


def traceparent(trace_id: str, span_id: str = "", *, sampled: bool = False) -> str:
    """Return a W3C traceparent; the span id is taken from the trace id when not given."""
    return f"00-{trace_id}-{span_id or trace_id[:16]}-{'01' if sampled else '00'}"


def trace_id_of(headers: Mapping[str, str]) -> str:
    """Return the trace id of message headers; '' when there is none or it is malformed."""
    found = context_of(headers)
    return found.trace_id if found else ""


def current() -> TraceContext | None:
    """Return the place where we are; None outside of every trace."""
    return _CURRENT.get()


def current_trace_id() -> str:
    """Return the trace id of what is being done, 32 hexadecimal characters, or ''."""
    here = _CURRENT.get()
    return here.trace_id if here else ""


@contextmanager
def within(place: TraceContext | None) -> Iterator[None]:
    """Make logs and outgoing calls carry a place; None leaves it as it is."""
    if place is None:
        yield
        return
    before = _CURRENT.get()
    _CURRENT.set(place)
    try:
        yield
    finally:
        # not reset(token): a stream may be ended from another context than it began in
        _CURRENT.set(before)


@contextmanager
def in_trace(trace_id: str) -> Iterator[None]:
    """Make logs and outgoing calls carry a trace id whose spans are not written."""
    with within(TraceContext(trace_id, trace_id[:16]) if trace_id else None):
        yield


def outgoing_headers() -> dict[str, str]:
    """Return the header that carries the current trace; empty without one."""
    here = _CURRENT.get()
    return {HEADER_TRACE: here.header()} if here else {}


def exemplar(*, written: bool = False) -> dict[str, str] | None:
    """Return what ties a measured value to the trace it comes from; None when nothing is written.

    `written`: the caller knows that the span is written although the flag is down.
    """
    here = _CURRENT.get()
    return {"trace_id": here.trace_id} if here and (here.sampled or written) else None
