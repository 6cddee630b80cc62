"""Self-healing: what is asked for a sick replica, and never a healing loop."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.analytics.core.healing.diagnosis import (
    CRITICAL_SECONDS,
    SILENT_SECONDS,
    critical_since,
    diagnose,
)
from services.analytics.core.healing.rules import (
    Action,
    HealingLimits,
    Histories,
    Order,
    Sick,
    Who,
    decide,
    forgive,
    touched,
)
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
from services.analytics.core.work import Trouble

LIMITS = HealingLimits()
AI, AI_2, EXEC = ("ai-service", "ai-1"), ("ai-service", "ai-2"), ("exec-risk-service", "exec_risk")
REPLICAS = (AI, AI_2, EXEC)


def ill(who: Who, *, leads: bool = False, others: bool = False) -> Sick:
    """A replica that hangs."""
    return Sick(*who, "hangs", leads=leads, others_well=others)


def drive(
    looks: list[tuple[float, list[Sick], list[Who]]], limits: HealingLimits = LIMITS
) -> tuple[list[tuple[float, Order]], Histories]:
    """Decide at each look (time, sick, well); return the orders with their times."""
    histories: Histories = {}
    orders = []
    for now, sick, well in looks:
        decided = decide(histories, sick, well, now=now, limits=limits)
        histories = decided.histories
        orders += [(now, order) for order in decided.orders]
    return orders, histories


def test_a_service_that_always_fails_is_not_restarted_for_ever() -> None:
    looks: list[tuple[float, list[Sick], list[Who]]] = [
        (5.0 * n, [ill(EXEC)], []) for n in range(1, 20_000)
    ]
    orders, histories = drive(looks)
    assert [order.action for _, order in orders] == [Action.RESTART] * LIMITS.most
    assert histories[EXEC].given_up and histories[EXEC].reason == "hangs"


def test_two_restarts_are_a_cooldown_apart() -> None:
    orders, _ = drive([(float(n), [ill(EXEC)], []) for n in range(1, 200)])
    first, second, third = (now for now, _ in orders)
    assert (second - first, third - second) == (60.0, 60.0)


def test_one_replica_of_a_service_at_a_time() -> None:
    """Both replicas look sick when their consumer is stuck: one of them goes on working."""
    both = [ill(AI, others=True), ill(AI_2, others=True)]
    orders, _ = drive([(float(n), both, []) for n in range(1, 150)])
    assert [order.instance for _, order in orders] == ["ai-1", "ai-2", "ai-1"]


def test_a_restart_by_the_supervisor_itself_counts_for_the_cooldown() -> None:
    decided = decide(touched({}, EXEC, 100.0), [ill(EXEC)], [], now=130.0, limits=LIMITS)
    assert decided.orders == ()
    later = decide(decided.histories, [ill(EXEC)], [], now=161.0, limits=LIMITS)
    assert [o.action for o in later.orders] == [Action.RESTART]


def test_a_leader_with_a_standby_is_taken_over() -> None:
    orders, _ = drive([(1.0, [ill(EXEC, leads=True, others=True)], [])])
    assert orders[0][1].action is Action.TAKE_OVER


def test_what_was_given_up_leaves_rotation_once_and_returns_when_it_is_well() -> None:
    looks = [(5.0 * n, [ill(AI, others=True)], [AI_2]) for n in range(1, 100)]
    looks += [(500.0 + 5.0 * n, [], [AI, AI_2]) for n in range(1, 100)]
    orders, histories = drive(looks)
    assert Counter(o.action for _, o in orders) == {
        Action.RESTART: 3,
        Action.DRAIN: 1,
        Action.RETURN: 1,
    }
    returned = next(now for now, o in orders if o.action is Action.RETURN)
    assert returned >= 505 + LIMITS.well_seconds
    assert not histories[AI].given_up


def test_the_last_replica_is_not_drained() -> None:
    orders, _ = drive([(5.0 * n, [ill(EXEC)], []) for n in range(1, 500)])
    assert Action.DRAIN not in {o.action for _, o in orders}


def test_a_person_may_have_it_tried_again() -> None:
    _, histories = drive([(5.0 * n, [ill(EXEC)], []) for n in range(1, 500)])
    again = decide(forgive(histories, EXEC), [ill(EXEC)], [], now=9_999.0, limits=LIMITS)
    assert [o.action for o in again.orders] == [Action.RESTART]


looks_of_any_kind = st.lists(
    st.tuples(
        st.floats(0.1, 200.0),
        st.lists(st.sampled_from(REPLICAS), unique=True),
        st.lists(st.sampled_from(REPLICAS), unique=True),
    ),
    max_size=120,
)


@given(looks_of_any_kind)
def test_never_a_healing_loop(steps: list[tuple[float, list[Who], list[Who]]]) -> None:
    """Whatever is seen: never more than the limit in a window, never two in a cooldown, and
    nothing after the last before it was well."""
    now = 1_000.0
    looks: list[tuple[float, list[Sick], list[Who]]] = []
    for pause, sick, well in steps:
        now += pause
        looks.append((now, [ill(who) for who in sick], well))
    orders, _ = drive(looks)
    times: dict[str, list[float]] = defaultdict(list)
    for at, order in orders:
        if order.action in (Action.RESTART, Action.TAKE_OVER):
            times[order.service].append(at)
            own = [t for t, o in orders if o.instance == order.instance and o.action == "RESTART"]
            assert sum(at - LIMITS.window_seconds < t <= at for t in own) <= LIMITS.most
    for asked in times.values():
        gaps = [later - sooner for sooner, later in pairwise(asked)]
        assert all(gap >= LIMITS.cooldown_seconds for gap in gaps)


EXPECTED = [Expected("ai-service", "ai_service"), Expected("exec-risk-service", "exec_risk")]
NAMES = {e.name for e in EXPECTED}


def seen(*beats: Heartbeat, now: float, parts: tuple[Part, ...] = ()) -> SystemView:
    """The system at a time."""
    return assess(EXPECTED, beats, parts, now=now, link=Link(), limits=Limits())


def beat(
    who: Who, at: float, status: Status = Status.HEALTHY, leader: float | None = None
) -> Heartbeat:
    """A heartbeat of a replica."""
    progress = {} if leader is None else {"leader": leader}
    return Heartbeat(*who, status, at, progress=progress)


def found(
    *beats: Heartbeat,
    now: float,
    troubles: tuple[Trouble, ...] = (),
    parts: tuple[Part, ...] = (),
    since: dict[Who, float] | None = None,
) -> dict[Who, Sick]:
    """What is sick."""
    sick = diagnose(
        seen(*beats, now=now, parts=parts),
        troubles,
        beats,
        since or {},
        now=now,
        heartbeat_timeout=15.0,
        expected=NAMES,
    )
    return {patient.who: patient for patient in sick}


def test_silence_is_healed_only_after_the_supervisor_had_its_time() -> None:
    beats = (beat(AI, 100.0), beat(AI_2, 135.0))
    assert found(*beats, now=100.0 + 15 + SILENT_SECONDS) == {}
    sick = found(*beats, now=100.1 + 15 + SILENT_SECONDS)
    assert set(sick) == {AI} and sick[AI].others_well


def test_long_critical_is_healed_unless_a_part_is_the_cause() -> None:
    now = 200.0
    beats = (beat(AI, now, Status.CRITICAL), beat(EXEC, now))
    begun = critical_since({}, seen(*beats, now=now), now)
    late = now + CRITICAL_SECONDS + 1
    again = (beat(AI, late, Status.CRITICAL), beat(EXEC, late))
    assert found(*again, now=now + 1, since=begun) == {}
    assert set(found(*again, now=late, since=begun)) == {AI}
    away = (Part("exchange", False, "away"),)
    assert found(*again, now=late, since=begun, parts=away) == {}
    assert critical_since(begun, seen(beat(AI, late), now=late), late) == {}


def test_nothing_is_restarted_while_postgres_or_nats_is_away() -> None:
    hangs = Trouble("ConsumerStuck", "ai-service", "ai-1", "hangs", instance="ai-1")
    beats = (beat(AI, 100.0), beat(EXEC, 100.0))
    assert set(found(*beats, now=100.0, troubles=(hangs,))) == {AI}
    for part in ("postgres", "nats"):
        down = (Part(part, False, "x"),)
        assert found(*beats, now=100.0, troubles=(hangs,), parts=down) == {}


def test_a_stuck_shared_consumer_suspects_all_its_replicas() -> None:
    stuck = Trouble("ConsumerStuck", "ai-service", "ai-work", "10 wait")
    lag = Trouble("ConsumerLag", "ai-service", "ai-work", "more wait")
    beats = (beat(AI, 100.0), beat(AI_2, 100.0), beat(EXEC, 100.0))
    assert set(found(*beats, now=100.0, troubles=(stuck,))) == {AI, AI_2}
    assert found(*beats, now=100.0, troubles=(lag,)) == {}


def test_a_leader_with_a_well_standby_is_known() -> None:
    standby = ("exec-risk-service", "exec_risk-2")
    hangs = Trouble("ConsumerStuck", EXEC[0], "exec_risk", "hangs", instance="exec_risk")
    alone = found(beat(EXEC, 100.0, leader=1.0), now=100.0, troubles=(hangs,))
    assert not alone[EXEC].leads
    beats = (beat(EXEC, 100.0, leader=1.0), beat(standby, 100.0, leader=0.0))
    assert found(*beats, now=100.0, troubles=(hangs,))[EXEC].leads


def test_a_service_that_nobody_expects_is_left_alone() -> None:
    other = ("paper-venue", "venue")
    beats = (beat(AI, 500.0), beat(EXEC, 500.0), beat(other, 490.0))
    hangs = Trouble("ConsumerStuck", "paper-venue", "venue", "hangs", instance="venue")
    assert found(*beats, now=500.0, troubles=(hangs,)) == {}
