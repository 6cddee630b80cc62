"""When restarts are a loop."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.ctl.supervisor.restart_loop import LOOP_RESTARTS, LOOP_SECONDS, RestartLoop


@given(st.lists(st.floats(0, 4 * LOOP_SECONDS), max_size=30), st.floats(0, 4 * LOOP_SECONDS))
def test_a_loop_is_so_many_restarts_within_its_time(times: list[float], later: float) -> None:
    loop = RestartLoop()
    for time in sorted(times):
        loop.restarted(time, "ended with 1")
    now = max([0.0, *times]) + later
    recent = [time for time in times if now - time <= LOOP_SECONDS]
    assert bool(loop.alert(now)) is (len(recent) >= LOOP_RESTARTS)


def test_the_line_names_count_time_and_cause_and_ends_with_quiet() -> None:
    loop = RestartLoop()
    for second in range(7):
        loop.restarted(float(second), "ai-1 ended with 1: no model")
    assert loop.alert(10.0) == (
        "restart loop: 7 restarts in 300 s, last: ai-1 ended with 1: no model"
    )
    assert loop.alert(10.0 + LOOP_SECONDS) == ""
    loop.restarted(11.0, "again")
    loop.forgive()
    assert loop.alert(11.0) == ""
