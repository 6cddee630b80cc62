"""A resync cures a wrong clock and never revives an old write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.exchange.clock import STEP_MS, ExchangeClock

WINDOW = 1_500
START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """True time, and a wall clock that is off by what a test sets."""

    def __init__(self) -> None:
        self.true_ms = 0
        self.wrong_ms = 0

    def now(self) -> datetime:
        return START + timedelta(milliseconds=self.true_ms + self.wrong_ms)

    def monotonic(self) -> float:
        return self.true_ms / 1000

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def server_ms(self) -> int:
        return int((START + timedelta(milliseconds=self.true_ms)).timestamp() * 1000)


@given(
    skew=st.integers(-10_000, 10_000),
    frozen=st.integers(0, 60_000),
    set_by=st.integers(-70_000, 70_000),
    exactly_back=st.integers(-20, 20) | st.none(),
    resync_first=st.booleans(),
    later=st.integers(0, WINDOW - 1),
)
def test_no_resync_revives_a_write_older_than_its_window(
    skew: int, frozen: int, set_by: int, exactly_back: int | None, resync_first: bool, later: int
) -> None:
    """Incident 46: a leader is frozen after its write while its wall clock is set; then it sends,
    before or after a fresh look at the exchange's clock. What the exchange accepts was young."""
    world = FakeClock()
    world.wrong_ms = skew
    clock = ExchangeClock(world, window_ms=WINDOW)
    clock.measured(clock.wall_ms(), world.server_ms())
    signed_at, written = clock.wall_ms(), world.true_ms
    world.true_ms += frozen
    # the worst clock is one that was set back by just what passed
    world.wrong_ms += set_by if exactly_back is None else exactly_back - frozen
    if resync_first:
        clock.measured(clock.wall_ms(), world.server_ms())
        world.true_ms += later
    for _attempt in (1, 2):
        if not clock.age_known(signed_at):
            return
        age_there = world.server_ms() - (signed_at + clock.offset_ms)
        if -1_000 < age_there <= WINDOW:
            # steps below STEP_MS are the clock's own drift
            assert world.true_ms - written <= WINDOW + 2 * STEP_MS
            return
        clock.measured(clock.wall_ms(), world.server_ms())
        if clock.left_ms(signed_at) <= 0:
            return


@given(st.integers(-10_000, 10_000))
def test_one_look_cures_any_skew(skew: int) -> None:
    world = FakeClock()
    world.wrong_ms = skew
    clock = ExchangeClock(world, window_ms=WINDOW)
    signed_at = clock.wall_ms()
    clock.measured(clock.wall_ms(), world.server_ms())
    assert clock.age_known(signed_at)
    assert signed_at + clock.offset_ms == world.server_ms()


def test_what_is_written_after_the_clock_was_set_is_sent() -> None:
    world = FakeClock()
    clock = ExchangeClock(world, window_ms=WINDOW)
    before = clock.wall_ms()
    world.wrong_ms = -5_000
    clock.watch()
    assert not clock.age_known(before)
    world.true_ms += WINDOW
    assert clock.age_known(clock.wall_ms())
    world.wrong_ms = 5_000
    clock.watch()
    world.true_ms += 1
    assert clock.age_known(clock.wall_ms())
