"""What all replicas said is kept to a bound, and nothing odd on the bus stops the reading."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest
from quantum.ai.v1 import signal_pb2

from services.ai.core.watch import ModelWatch
from services.ai.live_consumer import LiveAnswers
from services.ai.measures import Measures
from services.kit.bus.message import Message
from services.kit.observe.metrics import Metrics
from services.trade.codec import time_to_pb
from tests.unit.ai.candle_samples import MINUTE, START


class Reader:
    """Live answers with their metrics."""

    def __init__(self, capacity: int = 3) -> None:
        self.metrics = Metrics("ai_service")
        watch = ModelWatch()
        self.live = LiveAnswers(capacity=capacity, measures=Measures(self.metrics), watch=watch)

    def hear(self, data: bytes) -> None:
        self.live.receive(Message("quantum.live.prediction.paper.1m", data, {}, 1))

    def refused(self) -> bool:
        text = generate_latest(self.metrics.registry).decode()
        return 'errors_total{kind="bad_prediction"} 1.0' in text


def batch(*symbols: str, minute: int = 1, votes: int = 2) -> signal_pb2.PredictionBatch:
    found = signal_pb2.PredictionBatch(venue="paper", model_version="v1")
    for symbol in symbols:
        one = found.predictions.add(symbol=symbol, timeframe="1m", action=3)
        one.candle_close_time.CopyFrom(time_to_pb(START + minute * MINUTE))
        for number in range(votes):
            one.votes.add(model=f"m{number}", p_down=0.2, p_up=0.3, weight=0.5)
    return found


def test_the_series_answered_longest_ago_make_room() -> None:
    reader = Reader(capacity=3)
    for minute, symbol in enumerate(["A", "B", "C", "A", "D"], start=1):
        reader.hear(batch(symbol, minute=minute).SerializeToString())
    assert [p.symbol for p in reader.live.predictions()] == ["A", "C", "D"]
    assert reader.live.last_of("B") is None


def test_a_later_word_of_an_older_candle_changes_nothing() -> None:
    reader = Reader()
    for minute in (5, 4):
        reader.hear(batch("A", minute=minute).SerializeToString())
    last = reader.live.last_of("A")
    assert last is not None
    assert last.close_time[0] * 1000 == START + 5 * MINUTE


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x12\x05abc"])
def test_what_is_no_batch_is_counted_and_the_next_is_read(data: bytes) -> None:
    reader = Reader()
    reader.hear(data)
    assert reader.refused()
    reader.hear(batch("A").SerializeToString())
    assert [p.symbol for p in reader.live.predictions()] == ["A"]


def test_votes_that_do_not_fit_together_are_counted() -> None:
    reader = Reader()
    odd = batch("A", "B")
    del odd.predictions[1].votes[1]
    reader.hear(odd.SerializeToString())
    assert reader.refused()
    assert [p.symbol for p in reader.live.predictions()] == ["A", "B"]
