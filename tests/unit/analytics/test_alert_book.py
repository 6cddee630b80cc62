"""An alert is raised once, told once and resolved once, however its cause comes and goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.analytics.core.alerting.book import Key, OpenAlert, Step, adopt, step
from services.analytics.core.alerting.kinds import (
    KINDS,
    RESPONSE_MINUTES,
    Severity,
    kind_of,
    level_of,
)
from services.analytics.core.alerting.message import (
    MOST_ATTEMPTS,
    State,
    notice,
    pause_after,
)
from services.analytics.core.alerts import Alert, plain

DOWN = plain("ServiceDown", "ai-service", "ai-service is down", 100.0)
SLOW = plain("ServiceDegraded", "ai-service", "ai-service is degraded", 100.0)
QUIET = kind_of("ServiceDown").quiet_seconds


def found(*alerts: Alert) -> dict[Key, Alert]:
    return {alert.key: alert for alert in alerts}


def test_an_alert_is_raised_once_and_resolved_after_its_quiet_time() -> None:
    first = step({}, found(DOWN), 100.0)
    assert [e.alert.type for e in first.raised] == ["ServiceDown"]
    second = step(first.open, found(DOWN), 105.0)
    assert (second.raised, second.changed, second.resolved) == ((), (), ())
    gone = step(second.open, {}, 110.0)
    assert gone.resolved == () and gone.open
    over = step(gone.open, {}, 110.0 + QUIET)
    assert [e.alert_id for e in over.resolved] == [first.raised[0].alert_id]
    assert over.open == {}


def test_a_cause_that_comes_back_within_the_quiet_time_is_the_same_alert() -> None:
    first = step({}, found(DOWN), 100.0)
    gone = step(first.open, {}, 105.0)
    back = step(gone.open, found(DOWN), 110.0)
    assert (back.raised, back.resolved) == ((), ())
    assert back.open[DOWN.key].gone_since is None


def test_what_holds_for_a_moment_only_is_told_to_nobody() -> None:
    hold = kind_of("ServiceDegraded").hold_seconds
    first = step({}, found(SLOW), 100.0)
    assert first.raised == () and first.open
    ended = step(first.open, {}, 100.0 + hold + 60)
    later = step(ended.open, {}, 100.0 + hold + 120)
    assert (ended.resolved, later.resolved, later.open) == ((), (), {})
    told = step(first.open, found(SLOW), 100.0 + hold)
    assert [e.alert.since for e in told.raised] == [100.0]


def test_a_new_severity_of_an_open_alert_is_a_change_not_a_new_alert() -> None:
    first = step({}, found(DOWN), 100.0)
    graver = Alert("ServiceDown", Severity.HIGH, "x", "ai-service", 100.0)
    changed = step(first.open, found(graver), 105.0)
    assert changed.raised == ()
    assert [e.alert_id for e in changed.changed] == [first.raised[0].alert_id]


def test_a_stored_alert_keeps_its_id_over_a_restart() -> None:
    stored = OpenAlert("ab" * 16, DOWN, told=True)
    adopted = adopt({}, [stored])
    assert step(adopted, found(DOWN), 200.0).raised == ()
    mine = step({}, found(DOWN), 200.0).open
    assert adopt(mine, [stored])[DOWN.key].alert_id == "ab" * 16


sightings = st.lists(
    st.tuples(st.floats(0.5, 30.0), st.sets(st.sampled_from((DOWN.key, SLOW.key)))), max_size=60
)


@given(sightings)
def test_each_alert_is_raised_and_resolved_at_most_once(
    looks: list[tuple[float, set[Key]]],
) -> None:
    by_key = found(DOWN, SLOW)
    now, before = 100.0, Step()
    raised: list[str] = []
    resolved: list[str] = []
    for pause, keys in looks:
        now += pause
        held = {key: Alert(*_of(by_key[key]), since=now) for key in keys}
        before = step(before.open, held, now)
        raised += [e.alert_id for e in before.raised]
        resolved += [e.alert_id for e in before.resolved]
        told = {e.alert_id for e in before.open.values() if e.told}
        assert told == set(raised) - set(resolved)
    assert len(set(raised)) == len(raised)
    assert len(set(resolved)) == len(resolved)
    assert set(resolved) <= set(raised)


def _of(alert: Alert) -> tuple[str, Severity, str, str]:
    return (alert.type, alert.severity, alert.message, alert.component)


def test_a_message_says_how_soon_and_what_to_do() -> None:
    entry = step({}, found(DOWN), 100.0).raised[0]
    raised = notice(entry, State.RAISED, 100.0, "docs/runbook.md")
    assert raised.title == "[SEV-2 CRITICAL] ServiceDown: ai-service"
    assert raised.text.splitlines() == [
        "ai-service is down",
        "Answer within 30 min.",
        f"Take it: qt alerts ack {entry.alert_id[:12]}",
        "What to do: docs/runbook.md#servicedown",
    ]
    resolved = notice(entry, State.RESOLVED, 160.0, "docs/runbook.md")
    assert resolved.title == "[resolved] ServiceDown: ai-service"
    assert resolved.text.startswith("Over after 60 s. It was: ai-service is down\n")


def test_tries_are_further_and_further_apart_and_end() -> None:
    pauses = [pause_after(n) for n in range(1, MOST_ATTEMPTS + 1)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, None]


def test_severities_have_the_guides_levels() -> None:
    assert [s.level for s in Severity] == [4, 3, 2, 1]
    assert RESPONSE_MINUTES == {1: 15, 2: 30, 3: 120, 4: 1440}
    assert [s.fact for s in Severity] == ["INFO", "WARNING", "ERROR", "CRITICAL"]
    assert level_of("ServiceDown", Severity.CRITICAL) == 2, "one service down is SEV-2"
    assert level_of("LargeLoss", Severity.CRITICAL) == 1
    assert level_of("POSITION_DRIFT", Severity.HIGH) == 2
    assert len({kind.name for kind in KINDS}) == len(KINDS)
