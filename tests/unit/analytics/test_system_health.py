"""Health of services from heartbeats, and the alerts made of it."""

from __future__ import annotations

import pytest

from services.analytics.core.alerts import LedgerState, RiskNotice, Severity, derive
from services.analytics.core.health import (
    Expected,
    Heartbeat,
    Limits,
    Link,
    Part,
    Status,
    SystemView,
    assess,
)

AI = Expected("ai-service", "ai_service")
LIMITS = Limits()


def beat(
    instance: str = "ai-1",
    *,
    seen: float = 100.0,
    status: Status = Status.HEALTHY,
    reason: str = "",
) -> Heartbeat:
    """A heartbeat of ai."""
    return Heartbeat("ai-service", instance, status, seen, reason)


def view(*beats: Heartbeat, now: float = 100.0, link: Link | None = None) -> SystemView:
    """The system as these heartbeats show it."""
    return assess([AI], beats, [], now=now, link=link or Link(), limits=LIMITS)


def test_a_service_that_never_came_up_is_down() -> None:
    found = view().service("ai-service")
    assert found.status is Status.DOWN
    assert "no heartbeat was ever heard" in found.reason
    assert found.replicas[0].silent_for == -1


@pytest.mark.parametrize(
    ("now", "status"), [(100.0, Status.HEALTHY), (115.0, Status.HEALTHY), (115.1, Status.DOWN)]
)
def test_silence_beyond_the_time_out_is_down_and_one_heartbeat_brings_it_back(
    now: float, status: Status
) -> None:
    """Incident 108: the flag goes both ways."""
    assert view(beat(), now=now).service("ai-service").status is status
    assert view(beat(seen=now), now=now).service("ai-service").status is Status.HEALTHY


@pytest.mark.parametrize("status", [Status.DEGRADED, Status.CRITICAL])
def test_a_service_tells_of_itself(status: Status) -> None:
    found = view(beat(status=status, reason="nats: not connected")).service("ai-service")
    assert found.status is status
    assert found.reason == "ai-1: nats: not connected"


def test_one_dead_replica_of_two_degrades_until_it_is_forgotten() -> None:
    dead, alive = beat("ai-1", seen=100.0), beat("ai-2", seen=130.0)
    found = view(dead, alive, now=130.0).service("ai-service")
    assert found.status is Status.DEGRADED
    assert found.reason == "ai-1: no heartbeat for 30 s"
    later = beat("ai-2", seen=161.0)
    assert view(dead, later, now=161.0).service("ai-service").status is Status.HEALTHY


def test_the_last_replica_is_never_forgotten() -> None:
    found = view(beat(), now=1_000_000.0).service("ai-service")
    assert found.status is Status.DOWN and len(found.replicas) == 1


def test_silence_while_nats_is_down_is_not_called_a_dead_service() -> None:
    """Incident 108: no false DOWN."""
    found = view(beat(), now=130.0, link=Link(up=False)).service("ai-service")
    assert found.status is Status.CRITICAL and "nats is down" in found.reason
    back = Link(up=True, up_since=129.0)
    assert view(beat(), now=130.0, link=back).service("ai-service").status is Status.HEALTHY
    assert view(beat(), now=145.0, link=back).service("ai-service").status is Status.DOWN


def test_a_service_that_is_not_expected_shows_while_it_is_heard() -> None:
    other = Heartbeat("paper-venue", "venue-1", Status.HEALTHY, 100.0)
    names = [s.name for s in view(beat(), other).services]
    assert names == ["ai-service", "paper-venue"]
    assert [s.name for s in view(other, now=200.0).services] == ["ai-service"]


def test_the_system_is_as_bad_as_its_worst_part() -> None:
    found = assess(
        [AI],
        [beat()],
        [Part("postgres", False, "does not answer"), Part("nats", True)],
        now=100.0,
        link=Link(),
        limits=LIMITS,
    )
    assert found.overall is Status.DOWN
    assert found.unhealthy == ["postgres"]
    with pytest.raises(KeyError):
        found.service("nobody")


def test_status_texts() -> None:
    assert Status.HEALTHY.text == "healthy"
    assert Status.DOWN.fact == "CRITICAL"
    assert Status.DEGRADED.fact == "DEGRADED"


def test_an_alert_keeps_the_time_since_when_it_holds_and_ends_with_its_cause() -> None:
    first = derive(view(), LedgerState(), now=10.0, before={})
    assert [(a.type, a.severity, a.since) for a in first.values()] == [
        ("ServiceDown", Severity.CRITICAL, 10.0)
    ]
    again = derive(view(), LedgerState(), now=20.0, before=first)
    assert [a.since for a in again.values()] == [10.0]
    assert derive(view(beat()), LedgerState(), now=30.0, before=again) == {}


def test_the_ledgers_own_troubles_are_alerts() -> None:
    """Incident 58: a message that could not be handled is not lost without a word."""
    state = LedgerState(
        rejected_last_hour=2, last_rejection="no type", settling_trades=1, disagreeing_trades=1
    )
    found = derive(view(beat()), state, now=10.0, before={})
    assert {a.type for a in found.values()} == {"DeadLetter", "LedgerIncomplete", "PnlMismatch"}
    assert "no type" in found[("DeadLetter", "ledger")].message


def test_a_grave_risk_alert_holds_as_exec_risk_named_it() -> None:
    risk = RiskNotice(
        "main", "POSITION_DRIFT", Severity.CRITICAL, ("BTCUSDT",), "size differs", "12:00"
    )
    first = derive(view(beat()), LedgerState(risks=(risk,)), now=10.0, before={})
    (found,) = derive(view(beat()), LedgerState(risks=(risk,)), now=20.0, before=first).values()
    assert found.key == ("POSITION_DRIFT", "main/BTCUSDT")
    assert (found.severity, found.since) == (Severity.CRITICAL, 10.0)
    assert found.message == "size differs (market time 12:00)"


def test_a_part_that_is_down_is_an_alert() -> None:
    broken = SystemView(
        (), assess([], [], [Part("nats", False, "x")], now=1, link=Link(), limits=LIMITS).parts
    )
    found = derive(broken, LedgerState(), now=1.0, before={})
    assert found[("PartDown", "nats")].severity is Severity.CRITICAL


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (Status.HEALTHY, Status.DEGRADED),
        (Status.DEGRADED, Status.DEGRADED),
        (Status.CRITICAL, Status.CRITICAL),
    ],
)
def test_a_service_with_heartbeats_that_answers_no_call_is_degraded_at_least(
    status: Status, found: Status
) -> None:
    beats = [beat(status=status)]
    silent = {"ai-service": "does not answer calls (unavailable)", "other": "away"}
    seen = assess([AI], beats, [], now=100.0, link=Link(), limits=LIMITS, silent=silent)
    service = seen.service("ai-service")
    assert service.status is found
    assert service.reason.startswith("does not answer calls (unavailable)")
    assert view(*beats).service("ai-service").status is status
