"""What all replicas said is kept to a bound, and nothing odd on the bus stops the reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from quantum.ai.v1 import signal_pb2

from services.ai.core.answers import Batch, Policy, Question, answer, batches
from services.ai.core.ensemble import Gate, HoldReason
from services.ai.core.outputs import ModelOutput, Outputs
from services.ai.core.watch import ModelWatch
from services.ai.live_consumer import LiveAnswers
from services.ai.measures import Measures
from services.ai.outgoing import messages
from services.catalog.subjects import HEADER_MESSAGE_ID
from services.kit.bus.message import Message
from services.kit.observe.metrics import Metrics
from services.trade.codec import time_to_pb
from tests.unit.ai.candle_samples import MINUTE, START, candle, manifest, output


class Reader:
    """Live answers with their metrics."""

    def __init__(self, capacity: int = 3) -> None:
        self.metrics = Metrics("ai_service")
        self.watch = ModelWatch()
        measures = Measures(self.metrics)
        self.live = LiveAnswers(capacity=capacity, measures=measures, watch=self.watch)

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


def answered(found: list[ModelOutput | None], minute: int) -> Batch:
    """Return the batch of a round; a symbol without an output had no window."""
    questions = [
        Question(
            candle(minute, f"S{number}USDT"),
            HoldReason.NOT_WARM if said is None else HoldReason.NONE,
        )
        for number, said in enumerate(found)
    ]
    outputs = Outputs.of([said for said in found if said is not None])
    policy = Policy(Gate(0.4), ttl_ms=1000)
    (made,) = batches(answer(questions, outputs, manifest(), policy), manifest())
    return made


share = st.floats(0.0, 0.5)
votes = st.builds(lambda down, up: (down, 1 - down - up, up), share, share)
said = st.none() | st.builds(lambda a, b, v: output(a, b, valid=v), votes, votes, st.booleans())


@given(st.lists(st.lists(said, min_size=1, max_size=6), min_size=1, max_size=4))
def test_what_a_replica_said_itself_reads_as_what_another_reads(
    rounds: list[list[ModelOutput | None]],
) -> None:
    own, other = Reader(capacity=5), Reader(capacity=5)
    for minute, found in enumerate(rounds):
        made = answered(found, minute)
        message = messages(made)[-1]
        own.live.own.say(made, message)
        headers = {HEADER_MESSAGE_ID: message.message_id}
        heard = Message(message.subject, message.data, headers, minute + 1)
        own.live.receive(heard)
        other.live.receive(heard)
    assert own.live.predictions() == other.live.predictions()
    for symbol in {p.symbol for p in other.live.predictions()}:
        mine, told = own.live.last_of(symbol), other.live.last_of(symbol)
        assert mine is not None
        assert told is not None
        assert (mine.signal, mine.close_time) == (told.signal, told.close_time)
        assert (mine.signal is None) == (mine.prediction.signal_id == "")
    assert repr(own.watch._tallies) == repr(other.watch._tallies)


def test_other_bytes_under_the_id_of_what_was_said_are_read() -> None:
    reader = Reader()
    message = messages(answered([output((0.1, 0.1, 0.8), (0.1, 0.1, 0.8))], 1))[-1]
    reader.live.own.say(answered([None], 1), message)
    headers = {HEADER_MESSAGE_ID: message.message_id}
    other = batch("A").SerializeToString()
    reader.live.receive(Message(message.subject, other, headers, 1))
    assert [p.symbol for p in reader.live.predictions()] == ["A"]
