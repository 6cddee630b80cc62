"""Lines of logs as people read them."""

from __future__ import annotations

from services.ctl.logbook.line import Line

_WIDTH = 18
_LATER = ("trace_id", "span_id", "traceparent", "exception")
"""Fields that are shown last, or on lines of their own."""


def shown(line: Line, named: bool, timestamps: bool = True) -> str:
    """Return time, process where there are several, level, event and fields."""
    parts = []
    if timestamps:
        time = f"{line.time:%Y-%m-%d %H:%M:%S.%f}"[:-3] if line.time else "-" * 23
        parts.append(time)
    if named:
        parts.append(f"{line.process:<{_WIDTH}}")
    parts += [f"{line.level:<8}", line.event]
    parts += [f"{name}={value}" for name, value in line.fields.items() if name not in _LATER]
    if line.trace_id:
        parts.append(f"trace_id={line.trace_id}")
    text = " ".join(parts).rstrip()
    error = line.fields.get("exception")
    return f"{text}\n{error}" if error else text
