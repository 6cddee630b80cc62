"""Work that does not get done is found although everybody says that all is well."""

from __future__ import annotations

import pytest

from services.analytics.core.health import Heartbeat, Status
from services.analytics.core.work import (
    Consumer,
    Tracks,
    Trouble,
    WorkLimits,
    follow,
)

LIMITS = WorkLimits()


def consumer(waiting: int = 0, settled: int = 0, unsettled: int = 0) -> Consumer:
    """The work queue of ai."""
    return Consumer("MARKET", "ai-work", "ai-service", waiting, unsettled, settled)


def beat(service: str = "ai-service", instance: str = "ai-1", **progress: float) -> Heartbeat:
    """A heartbeat that says HEALTHY."""
    return Heartbeat(service, instance, Status.HEALTHY, 0.0, progress=progress)


def run(*looks: tuple[float, list[Consumer], list[Heartbeat]]) -> tuple[Trouble, ...]:
    """Look several times; return what is found at the last."""
    tracks: Tracks = {}
    found: tuple[Trouble, ...] = ()
    for now, consumers, beats in looks:
        tracks, found = follow(tracks, consumers, beats, now=now, limits=LIMITS)
    return found


def kinds(found: tuple[Trouble, ...]) -> list[tuple[str, str, str]]:
    return [(t.kind, t.service, t.instance) for t in found]


def test_a_consumer_that_hangs_is_found_while_its_service_says_it_is_well() -> None:
    """Incident 60: "active" for 3.3 hours with a consumer that hung."""
    fine = [beat()]
    assert run((0, [consumer(5, 7)], fine), (19.9, [consumer(9, 7)], fine)) == ()
    found = run((0, [consumer(5, 7)], fine), (20.0, [consumer(9, 7, 3)], fine))
    assert kinds(found) == [("ConsumerStuck", "ai-service", "")]
    assert found[0].reason == "ai-work: 12 messages wait and none was handled for 20 s"


def test_a_consumer_that_moves_or_has_nothing_to_do_is_not_stuck() -> None:
    moving = [(10.0 * n, [consumer(50, n)], [beat()]) for n in range(10)]
    assert run(*moving) == ()
    idle = [(10.0 * n, [consumer(0, 7)], [beat()]) for n in range(10)]
    assert run(*idle) == ()


def test_a_handler_that_hangs_names_its_replica() -> None:
    """Incident 60: the age of what is being handled is part of health."""
    beats = [beat(handling_seconds=20.0), beat(instance="ai-2", handling_seconds=0.4)]
    found = run((0, [], beats))
    assert kinds(found) == [("ConsumerStuck", "ai-service", "ai-1")]


def test_a_lag_that_grows_is_found_before_it_is_stuck() -> None:
    def look(n: int, waiting: int) -> tuple[float, list[Consumer], list[Heartbeat]]:
        return (5.0 * n, [consumer(waiting, n)], [beat()])

    growing = [look(n, 300 * n) for n in range(13)]
    assert kinds(run(*growing)) == [("ConsumerLag", "ai-service", "")]
    falling = [*growing, look(13, 2_000)]
    assert run(*falling) == ()
    burst = [look(n, 50_000 - 500 * n) for n in range(13)]
    assert run(*burst) == ()


def test_an_outbox_that_is_not_published_is_found() -> None:
    def look(at: float, open_: float) -> tuple[float, list[Consumer], list[Heartbeat]]:
        return (at, [], [beat("exec-risk-service", "exec_risk", outbox_open=open_)])

    assert kinds(run(look(0, 4), look(20, 9))) == [
        ("OutboxStuck", "exec-risk-service", "exec_risk")
    ]
    assert run(look(0, 9), look(10, 4), look(25, 6)) == ()
    assert run(look(0, 0), look(25, 0), look(40, 3)) == ()


@pytest.mark.parametrize(
    ("service", "clock"),
    [("ai-service", "last_candle_time"), ("exec-risk-service", "last_round_ms")],
)
def test_a_replica_that_the_market_leaves_behind_is_found(service: str, clock: str) -> None:
    """Incident 60: it lives, beats and consumes nothing."""

    def look(n: int, own: float) -> tuple[float, list[Consumer], list[Heartbeat]]:
        foremost = beat("ai-service", "ai-9", last_candle_time=60_000.0 * n)
        return (10.0 * n, [], [foremost, beat(service, "slow", leader=1.0, **{clock: own})])

    found = run(*(look(n, 120_000.0) for n in range(2, 8)))
    assert kinds(found) == [("ConsumerStuck", service, "slow")]
    assert run(*(look(n, 60_000.0 * n - 60_000) for n in range(2, 8))) == ()


def test_a_standby_has_no_rounds_and_is_not_behind() -> None:
    def look(n: int) -> tuple[float, list[Consumer], list[Heartbeat]]:
        ahead = beat(last_candle_time=60_000.0 * n)
        standby = beat("exec-risk-service", "b", leader=0.0, last_round_ms=0.0)
        return (10.0 * n, [], [ahead, standby])

    assert run(*(look(n) for n in range(2, 20))) == ()


def test_a_market_that_stands_still_is_found_and_ages() -> None:
    """Incident 111: staleness grows while the producer is stopped, however often it is asked."""
    beats = [beat(last_candle_time=60_000.0)]
    assert run((0, [], beats), (299.0, [], beats)) == ()
    found = run((0, [], beats), (150.0, [], beats), (300.0, [], beats), (301.0, [], beats))
    assert [(t.kind, t.value) for t in found] == [("MarketStill", 301.0)]
    moved = [beat(last_candle_time=120_000.0)]
    assert run((0, [], beats), (299.0, [], moved), (301.0, [], moved)) == ()
