"""Gaps are what is really missing, and are asked for a bounded number of times."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.ai.core.gaps import WAITS, GapBook, Outcome, Step
from services.ai.core.windows import Gap, SeriesKey, Windows
from tests.unit.ai.candle_samples import MINUTE, START, candle

KEY = SeriesKey("paper", "BTCUSDT", "1m")
LENGTH = 8


def filled(numbers: list[int], capacity: int = 32) -> Windows:
    windows = Windows(capacity=capacity)
    for number in numbers:
        windows.insert(candle(number))
    return windows


@given(st.lists(st.integers(0, 60), min_size=1, max_size=80))
def test_a_gap_is_what_the_newest_window_lacks_behind_the_oldest_bar(numbers: list[int]) -> None:
    newest, oldest = max(numbers), min(numbers)
    first = max(newest - LENGTH + 1, oldest)
    missing = [n for n in range(first, newest) if n not in numbers]
    expected = Gap(START + missing[0] * MINUTE, START + missing[-1] * MINUTE) if missing else None
    assert filled(numbers).gap(KEY, LENGTH) == expected
    assert filled(sorted(numbers, reverse=True)).gap(KEY, LENGTH) == expected


def test_a_young_series_lacks_nothing_and_one_that_is_not_known_neither() -> None:
    windows = filled([5, 6])
    assert windows.gap(KEY, LENGTH) is None
    assert windows.gap(KEY._replace(symbol="ETHUSDT"), LENGTH) is None


def run(arrivals: list[int], late: dict[int, int] | None = None) -> list[Step]:
    """Feed live candles by number; `late` says after which arrival a past candle comes."""
    windows, book, steps = Windows(capacity=256), GapBook(), []
    for number in arrivals:
        one = candle(number)
        windows.insert(one)
        steps.append(book.live(KEY, windows.gap(KEY, LENGTH), one.close_time, MINUTE))
        for past in [p for p, after in (late or {}).items() if after == number]:
            windows.insert(candle(past))
            closes = candle(past).close_time
            steps.append(book.filled(KEY, windows.gap(KEY, LENGTH), closes))
    return [step for step in steps if step is not None]


def test_a_gap_that_is_filled_is_asked_for_once() -> None:
    steps = run([0, 1, 2, 5, 6, 7], {3: 5, 4: 5})
    assert [s.outcome for s in steps] == [Outcome.WANTED, Outcome.REPAIRED]
    assert steps[0].gap == Gap(START + 3 * MINUTE, START + 4 * MINUTE)
    assert steps[0].time == candle(5).close_time


def test_a_late_candle_repairs_its_gap_itself() -> None:
    steps = run([0, 1, 3, 2, 4])
    assert [s.outcome for s in steps] == [Outcome.WANTED, Outcome.REPAIRED]


def test_what_was_filled_in_part_is_asked_for_again() -> None:
    first, second, last = run([0, 1, 2, 5, 6], {3: 5, 4: 6})
    assert first.gap == Gap(START + 3 * MINUTE, START + 4 * MINUTE)
    assert (second.outcome, second.asked) == (Outcome.WANTED, 2)
    assert second.gap == Gap(START + 4 * MINUTE, START + 4 * MINUTE)
    assert last.outcome is Outcome.REPAIRED


def test_a_gap_that_stays_is_given_up_once_and_forgotten_when_it_is_past() -> None:
    windows, book, steps = Windows(), GapBook(), []
    for number in (0, 1, *range(3, 60)):
        windows.insert(candle(number))
        gap = windows.gap(KEY, 40)
        steps.append(book.live(KEY, gap, candle(number).close_time, MINUTE))
        if number == 30:
            assert list(book.given_up()) == [KEY]
    said = [step for step in steps if step is not None]
    asked = [(s.time - candle(3).close_time) // MINUTE for s in said]
    assert asked == [0, 1, 3, 7, 11, 15, 39]
    assert [s.outcome for s in said[-2:]] == [Outcome.GIVEN_UP, Outcome.PASSED]
    assert not len(book)
    assert not book.given_up()


def test_a_new_hole_is_asked_for_although_an_old_one_was_given_up() -> None:
    book = GapBook()
    old = Gap(START, START)
    time = START + MINUTE
    for number in range(20):
        book.live(KEY, old, time + number * MINUTE, MINUTE)
    assert book.given_up()
    new = Gap(START, START + 20 * MINUTE)
    step = book.live(KEY, new, time + 21 * MINUTE, MINUTE)
    assert step is not None
    assert (step.outcome, step.asked, step.gap) == (Outcome.WANTED, 1, new)
    assert not book.given_up()


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_questions_are_bounded_by_the_holes(came: list[bool]) -> None:
    arrivals = [number for number, here in enumerate(came) if here]
    steps = run(arrivals)
    holes = sum(b != a + 1 for a, b in pairwise(arrivals))
    counts = Counter(step.outcome for step in steps)
    assert counts[Outcome.WANTED] <= holes * len(WAITS)
    assert counts[Outcome.GIVEN_UP] <= holes
    assert (counts[Outcome.WANTED] > 0) == (holes > 0)
