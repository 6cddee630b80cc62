"""From candles to batches of answers: the part that the backtest shares."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantum.ai.v1 import signal_pb2

from services.ai.batch_wire import batch_to_bytes
from services.ai.core.answers import Answer, Policy, Question, answer, ask, batches
from services.ai.core.ensemble import Action, Gate, HoldReason
from services.ai.core.outputs import ModelOutput, Outputs
from services.ai.core.windows import Windows
from services.trade.candle import Candle
from services.trade.ids import signal_id
from tests.unit.ai.candle_samples import MINUTE, START, candle, manifest, output

POLICY = Policy(Gate(0.3), ttl_ms=300_000)
UP = output((0.1, 0.3, 0.6), (0.1, 0.3, 0.6))
DOWN = output((0.6, 0.3, 0.1), (0.6, 0.3, 0.1))
FLAT = output((0.2, 0.6, 0.2), (0.2, 0.6, 0.2))


def warm(count: int = 10) -> Windows:
    windows = Windows()
    for number in range(count):
        windows.insert(candle(number))
    return windows


def answered(*items: tuple[Candle, ModelOutput]) -> list[Answer]:
    questions = [Question(one) for one, _ in items]
    return answer(questions, Outputs.of([found for _, found in items]), manifest(), POLICY)


def test_a_warm_candle_is_asked_about_its_own_window() -> None:
    asked = ask([candle(5)], warm(), manifest(), POLICY)
    assert asked.windows.shape == (1, 4, 5)
    assert asked.windows[0, -1, 3] == 106
    (question,) = asked.questions
    assert question.reason is HoldReason.NONE
    assert not question.stale


def test_a_candle_with_a_short_history_is_not_warm() -> None:
    asked = ask([candle(2)], warm(), manifest(), POLICY)
    assert [question.reason for question in asked.questions] == [HoldReason.NOT_WARM]
    assert not len(asked.windows)


def test_a_candle_of_another_timeframe_is_not_asked_about() -> None:
    other = candle(0, timeframe="5m", open_time=START // (5 * MINUTE) * 5 * MINUTE)
    asked = ask([other], warm(), manifest(), POLICY)
    assert [question.reason for question in asked.questions] == [HoldReason.OTHER_TIMEFRAME]
    assert not len(asked.windows)


@pytest.mark.parametrize(("newest", "stale"), [(10, False), (11, True)])
def test_a_candle_is_stale_when_its_signal_would_have_expired(newest: int, stale: bool) -> None:
    (question,) = ask([candle(5)], warm(newest + 1), manifest(), POLICY).questions
    assert question.stale is stale


def test_signals_name_their_candle_and_expire_in_market_time() -> None:
    (first,) = answered((candle(7), UP))
    signal = first.signal
    assert signal is not None
    assert signal.signal_id == signal_id("paper", "BTCUSDT", "1m", START + 7 * MINUTE)
    assert signal.expires_at == START + 8 * MINUTE + 300_000
    assert signal.action is Action.BUY
    assert signal.price == Decimal(108)
    assert signal.atr_fraction == 0.001
    assert signal.model_version == "test-1"
    assert not signal.in_sample


def test_a_hold_makes_no_signal() -> None:
    (first,) = answered((candle(7), FLAT))
    assert first.prediction.action is Action.HOLD
    assert first.signal is None


@pytest.mark.parametrize(
    ("number", "inside"), [(-1001, False), (-1000, True), (-501, True), (-500, False)]
)
def test_in_sample_is_the_range_that_training_has_seen(number: int, inside: bool) -> None:
    one = candle(0, open_time=START + number * MINUTE)
    assert manifest().in_sample(one.open_time, one.close_time) is inside


def test_outputs_go_to_the_questions_that_asked() -> None:
    windows = warm()
    questions = [
        *ask([candle(5)], windows, manifest(), POLICY).questions,
        *ask([candle(1)], windows, manifest(), POLICY).questions,
        *ask([candle(6)], windows, manifest(), POLICY).questions,
    ]
    found = answer(questions, Outputs.of([UP, DOWN]), manifest(), POLICY)
    actions = [a.prediction.action for a in found]
    assert actions == [Action.BUY, Action.HOLD, Action.SELL]


def test_batches_hold_one_round_of_one_venue_and_timeframe_by_symbol() -> None:
    items = [
        (candle(8, "BUSDT"), UP),
        (candle(7, "BUSDT"), UP),
        (candle(8, "AUSDT"), DOWN),
        (candle(8, "AUSDT"), DOWN),
        (candle(8, "AUSDT", venue="binance"), FLAT),
    ]
    found = batches(answered(*items), manifest())
    places = [
        (
            b.close_time // MINUTE - START // MINUTE,
            b.venue,
            [a.prediction.candle.symbol for a in b.answers],
        )
        for b in found
    ]
    assert places == [
        (8, "paper", ["BUSDT"]),
        (9, "binance", ["AUSDT"]),
        (9, "paper", ["AUSDT", "BUSDT"]),
    ]


@given(st.permutations(range(6)))
def test_the_same_candles_make_the_same_message_in_any_order(order: list[int]) -> None:
    items = [(candle(8, f"S{n}USDT"), [UP, DOWN, FLAT][n % 3]) for n in range(6)]
    first = batches(answered(*items), manifest())[0]
    second = batches(answered(*(items[n] for n in order)), manifest())[0]
    assert first.message_id == second.message_id
    assert batch_to_bytes(first) == batch_to_bytes(second)


def test_another_model_makes_another_message() -> None:
    answers = answered((candle(8), UP))
    ids = {batches(answers, manifest(version=v))[0].message_id for v in ("a", "b")}
    assert len(ids) == 2


@pytest.mark.parametrize("found", [UP, DOWN, FLAT])
def test_actions_are_enums_on_the_wire(found: ModelOutput) -> None:
    """Incident 100: an action is one of three numbers, never a spelling."""
    batch = batches(answered((candle(7), found)), manifest())[0]
    (message,) = signal_pb2.PredictionBatch.FromString(batch_to_bytes(batch)).predictions
    assert message.action in (1, 2, 3)
    assert (message.action == 3) == (message.signal_id == "")
    assert (message.action == 3) == (message.hold_reason != "")
