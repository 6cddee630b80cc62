"""Outcomes of predictions: the label that models are trained on, each prediction once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.core.learning.candle_book import CHUNK, CandleBook, SeriesKey
from services.analytics.core.learning.samples import (
    ENSEMBLE,
    WINDOW,
    Answer,
    Stage,
    Voted,
    due_before,
    judge,
)
from services.analytics.core.learning.tally import NOTHING, Tally, interval, tally
from services.lab.training.artifact import generated_windows
from services.lab.training.data import FeatureReader
from services.lab.training.features import build_features
from services.trade.barrier_label import LabelRule, label_moves, window_atr

RULE = LabelRule(horizon=15)
STEP = 60_000
KEY = SeriesKey("paper", "BTCUSDT", "1m")
START = 1_700_000_040_000 // (STEP * CHUNK) * (STEP * CHUNK)


def walk(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.001, count)))
    opened = np.concatenate([[100.0], close[:-1]])
    high = np.maximum(opened, close) * (1 + np.abs(random.normal(0, 0.0005, count)))
    low = np.minimum(opened, close) * (1 - np.abs(random.normal(0, 0.0005, count)))
    return np.stack([opened, high, low, close, random.lognormal(0, 1, count)], axis=1)


def book_of(bars: np.ndarray, keep: int = 512) -> CandleBook:
    book = CandleBook(keep)
    for number, row in enumerate(bars):
        book.add(KEY, START + number * STEP, tuple(row.tolist()))
    return book


def answer(number: int, probabilities: tuple[float, float, float] = (0.2, 0.3, 0.5)) -> Answer:
    votes = (
        Voted("lightgbm", probabilities, 0.5),
        Voted("xgboost", (0.5, 0.3, 0.2), 0.5),
    )
    return Answer(KEY, START + number * STEP, "m-1", Stage.ACTIVE, probabilities, votes)


def test_the_outcome_is_the_training_label() -> None:
    """Incident 103: what a prediction is held against is what the model was taught."""
    bars = walk(400, 3)
    ends = np.arange(WINDOW - 1, 400 - RULE.horizon - 1)
    atr = window_atr(np.stack([bars[e - WINDOW + 1 : e + 1] for e in ends]))
    labels, moves = label_moves(bars, ends, atr, RULE)
    found = judge([answer(int(e)) for e in ends], book_of(bars), RULE)
    whole = [s for s in found.samples if s.model == ENSEMBLE]
    assert [s.outcome.label for s in whole] == labels.tolist()
    assert [s.outcome.move for s in whole] == pytest.approx(moves.tolist())
    assert len(set(labels.tolist())) == 3


def test_the_true_range_is_that_of_the_artifact() -> None:
    windows = generated_windows(64)
    flat = windows.reshape(-1, 5)
    ends = np.arange(1, 65, dtype=np.int64) * WINDOW - 1
    read = FeatureReader(build_features()).read(flat, ends, lambda _: None)
    found = window_atr(windows.astype(np.float64))
    assert found == pytest.approx(read.atr_fraction.astype(np.float64), rel=2e-4)


def test_a_prediction_counts_once_however_often_and_in_which_order_it_comes() -> None:
    bars = walk(300, 5)
    asked = [answer(n) for n in (150, 151, 150, 152, 151)]
    once = judge(asked, book_of(bars), RULE)
    again = judge(asked[::-1], book_of(bars), RULE)
    assert [s.answer.key for s in once.samples] == [s.answer.key for s in again.samples]
    assert len(once.samples) == 3 * 3
    assert once.unknown == 0


def test_missing_candles_leave_an_outcome_unknown_and_late_ones_are_put_in_place() -> None:
    bars = walk(300, 6)
    book = CandleBook(512)
    for number, row in enumerate(bars):
        if number != 160:
            book.add(KEY, START + number * STEP, tuple(row.tolist()))
    assert judge([answer(150)], book, RULE).unknown == 1
    assert book.add(KEY, START + 160 * STEP, tuple(bars[160].tolist()))
    assert not book.add(KEY, START + 160 * STEP, tuple(bars[160].tolist()))
    assert judge([answer(150)], book, RULE) == judge([answer(150)], book_of(bars), RULE)


def test_whole_chunks_are_told_once_and_old_candles_fall_out() -> None:
    bars = walk(CHUNK * 5 + 7, 7)
    book = book_of(bars, keep=WINDOW)
    chunks = book.take_chunks()
    assert [c.start for c in chunks] == [START + n * CHUNK * STEP for n in range(5)]
    assert np.array_equal(np.concatenate([c.bars for c in chunks]), bars[: 5 * CHUNK])
    assert book.take_chunks() == []
    assert book.window(KEY, START + (WINDOW - 1) * STEP, WINDOW, 0) is None
    assert book.window(KEY, START + 300 * STEP, WINDOW, 5) is not None
    assert due_before(book.newest["1m"], RULE, "1m") == START + (307 - 17) * STEP


def test_scores_are_what_they_say() -> None:
    bars = walk(400, 8)
    said = [answer(n, (0.25, 0.15, 0.6)) for n in range(WINDOW, 380)]
    found = judge(said, book_of(bars), RULE)
    whole = tally(s for s in found.samples if s.model == ENSEMBLE)
    labels = [s.outcome.label for s in found.samples if s.model == ENSEMBLE]
    ups = labels.count(2) / len(labels)
    assert whole.samples == len(said)
    assert whole.hit_rate == pytest.approx(ups)
    assert whole.log_loss == pytest.approx(
        -sum(math.log((0.25, 0.15, 0.6)[label]) for label in labels) / len(labels)
    )
    assert whole.calibration_error == pytest.approx(abs(0.6 - ups))
    # the ensemble is lightgbm's own word here, so that leaving xgboost out changes it by that
    without = tally(s for s in found.samples if s.model == "lightgbm")
    expected = [math.log((0.25, 0.15, 0.6)[x]) - math.log((0.5, 0.3, 0.2)[x]) for x in labels]
    assert without.contribution == pytest.approx(sum(expected) / len(expected))


@given(st.lists(st.floats(0, 1e6), min_size=31, max_size=31))
def test_tallies_survive_the_database(numbers: list[float]) -> None:
    assert len(NOTHING.numbers()) == 31
    found = Tally.from_numbers(numbers)
    assert found.numbers() == numbers
    assert (found + NOTHING).numbers() == numbers


def test_the_interval_holds_the_share() -> None:
    assert interval(0, 0) == (0.0, 1.0)
    low, high = interval(50, 100)
    # Wilson 1927, as tabulated for 50 of 100
    assert (round(low, 4), round(high, 4)) == (0.4038, 0.5962)
