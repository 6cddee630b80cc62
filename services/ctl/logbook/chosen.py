"""Which lines are wanted: by time, level, pattern and trace. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.ctl.logbook.line import LEVELS, Line, moment

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"(?:\d+[smhdw])+")


class BadTime(ValueError):
    """The text is neither a span nor a time."""


def when(text: str, now: datetime) -> datetime:
    """Return a time: `90s`, `1h30m` or `7d` before now, or the ISO time itself, in UTC.

    BadTime says what can be written.
    """
    if _SPAN.fullmatch(text):
        seconds = sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([smhdw])", text))
        try:
            return now - timedelta(seconds=seconds)
        except OverflowError:
            raise BadTime(f"{text}: is before all time") from None
    found = moment(text)
    if found is None:
        raise BadTime(f"{text}: say a span as 1h, 90m or 7d, or a time as 2025-12-02T10:00:00")
    return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a line must be; nothing given lets every line pass."""

    since: datetime | None = None
    """Written then or later."""
    until: datetime | None = None
    """Written before."""
    level: str = ""
    """At least as severe."""
    pattern: re.Pattern[str] | None = None
    """Found anywhere in the line as it was written."""
    trace: str = ""
    """Trace id, or how it begins."""

    def takes(self, line: Line) -> bool:
        """Tell whether the line is wanted. A line without any time is in no span."""
        if self.since is not None and (line.time is None or line.time < self.since):
            return False
        if self.until is not None and (line.time is None or line.time >= self.until):
            return False
        if self.level and LEVELS.index(line.level) < LEVELS.index(self.level):
            return False
        if self.pattern is not None and not self.pattern.search(line.text):
            return False
        return not self.trace or line.trace_id.startswith(self.trace.lower())

    @property
    def everything(self) -> bool:
        """Whether nothing was asked for."""
        return self == Wanted()
