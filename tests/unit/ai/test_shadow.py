"""What a shadow says is recorded, and nobody can act on it."""

from __future__ import annotations

import pytest
from quantum.ai.v1 import signal_pb2

from services.ai.batch_wire import batch_to_bytes
from services.ai.core.answers import Batch, Policy, Question, answer, batches
from services.ai.core.ensemble import Gate
from services.ai.core.outputs import Outputs
from services.ai.shadow import message
from services.analytics.codec import facts_of
from services.catalog import subjects
from services.catalog.events import PREDICTION
from services.exec_risk.consumers import read_batch
from services.trade.codec import CodecError
from tests.unit.ai.candle_samples import candle, manifest, output


@pytest.fixture
def batch() -> Batch:
    """Two candles of which one made a signal."""
    up = output((0.1, 0.3, 0.6), (0.1, 0.3, 0.6))
    flat = output((0.2, 0.6, 0.2), (0.2, 0.6, 0.2))
    questions = [Question(candle(1, "AAAUSDT")), Question(candle(1, "BBBUSDT"))]
    (found,) = batches(
        answer(questions, Outputs.of([up, flat]), manifest(), Policy(Gate(0.3), ttl_ms=1000)),
        manifest(),
    )
    return found


def test_it_is_marked_carries_no_signal_and_goes_where_no_trader_reads(batch: Batch) -> None:
    told = message(batch)
    read = signal_pb2.PredictionBatch.FromString(told.data)
    assert read.shadow
    assert not read.signals
    assert [p.signal_id for p in read.predictions] == ["", ""]
    assert read.predictions[0].action == signal_pb2.ACTION_BUY, "what it would have done is told"
    assert read.model_version == "test-1"
    prefix = subjects.ALL_PREDICTIONS.removesuffix(">")
    assert not told.subject.startswith(prefix)
    assert told.subject.startswith(subjects.ALL_SHADOW_PREDICTIONS.removesuffix(">"))
    assert told.message_id != batch.message_id


def test_exec_risk_refuses_it_wherever_it_comes_from(batch: Batch) -> None:
    """Incident 96: a shadow is never counted as a vote, whatever subject brings it."""
    told = signal_pb2.PredictionBatch.FromString(batch_to_bytes(batch))
    assert read_batch(told.SerializeToString()).predictions
    told.shadow = True
    with pytest.raises(CodecError, match="is a shadow"):
        read_batch(told.SerializeToString())


def test_analytics_keeps_it_as_an_event_and_counts_the_active_answer_alone(batch: Batch) -> None:
    active = batch_to_bytes(batch)
    assert len(facts_of(PREDICTION, active, 1)) == 2
    assert facts_of(PREDICTION, message(batch).data, 2) == ()
