"""Spans of market time as people ask for them."""

from __future__ import annotations

from datetime import UTC, datetime

from services.trade.times import DAY_MS, day_start, from_datetime

PERIODS = {"day": 1, "week": 7, "month": 30}
"""Length of a period in UTC days."""

Span = tuple[int, int]
"""Begin and end, excluded, in milliseconds."""


def span_of(period: str, since: str, until: str, now: int) -> Span:
    """Return the span that is meant; ValueError says what is wrong with it.

    `now` is the newest market time: a period without an end ends with its UTC day. Without
    anything it is that day.
    """
    if period and since:
        raise ValueError("give a period or since, not both")
    if period and period not in PERIODS:
        raise ValueError(f"{period!r} is none of {', '.join(PERIODS)}")
    today = day_start(max(now - 1, 0)) + DAY_MS
    end = moment(until, end=True) if until else today
    begin = moment(since, end=False) if since else end - PERIODS[period or "day"] * DAY_MS
    if begin >= end:
        raise ValueError("since does not lie before until")
    return begin, end


def moment(text: str, *, end: bool) -> int:
    """Return a market time of a day or a moment, UTC; `end`: a day alone means its end."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither YYYY-MM-DD nor YYYY-MM-DDTHH:MM:SSZ") from error
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    time = from_datetime(found)
    return time + DAY_MS if end and len(text) == len("2025-05-01") else time
