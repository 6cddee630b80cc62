"""Spans as people ask for them, and how services were in one."""

from __future__ import annotations

import pytest

from services.analytics.core.service_history import HealthChange, histories
from services.analytics.core.spans import span_of
from services.trade.times import DAY_MS

MAY = 1_746_057_600_000
NOON = MAY + DAY_MS // 2


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("", "", ""), (MAY, MAY + DAY_MS)),
        (("day", "", ""), (MAY, MAY + DAY_MS)),
        (("week", "", ""), (MAY - 6 * DAY_MS, MAY + DAY_MS)),
        (("month", "", ""), (MAY - 29 * DAY_MS, MAY + DAY_MS)),
        (("week", "", "2025-04-30"), (MAY - 7 * DAY_MS, MAY)),
        (("", "2025-04-30", "2025-05-01"), (MAY - DAY_MS, MAY + DAY_MS)),
        (("", "2025-04-30T12:00Z", "2025-05-01T00:00:30Z"), (NOON - DAY_MS, MAY + 30_000)),
        (("", "2025-05-01T02:00+02:00", ""), (MAY, MAY + DAY_MS)),
    ],
)
def test_a_span_is_what_was_meant(asked: tuple[str, str, str], found: tuple[int, int]) -> None:
    assert span_of(*asked, NOON) == found


def test_midnight_still_belongs_to_the_day_that_it_ends() -> None:
    """The last round of a day comes at 00:00: the report of the day is that day's."""
    assert span_of("day", "", "", MAY) == (MAY - DAY_MS, MAY)


@pytest.mark.parametrize(
    "asked",
    [
        ("week", "2025-05-01", ""),
        ("year", "", ""),
        ("", "yesterday", ""),
        ("", "2025-05-02", "2025-05-01"),
        ("", "2025-13-01", ""),
    ],
)
def test_what_cannot_be_meant_is_refused(asked: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        span_of(*asked, NOON)


def test_time_that_a_service_was_ill_is_added_up() -> None:
    changes = [
        HealthChange("ai-service", 10, "HEALTHY", ""),
        HealthChange("ai-service", 20, "CRITICAL", "no model"),
        HealthChange("ai-service", 25, "DEGRADED", "slow"),
        HealthChange("ai-service", 30, "HEALTHY", ""),
        HealthChange("nats", 40, "CRITICAL", "away"),
    ]
    ai, nats = histories(reversed(changes), 50)
    assert (ai.changes, ai.unhealthy_ms, ai.status, ai.last_reason) == (4, 10, "HEALTHY", "slow")
    assert (nats.changes, nats.unhealthy_ms, nats.status) == (1, 10, "CRITICAL")
