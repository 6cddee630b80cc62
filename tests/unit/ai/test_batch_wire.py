"""The bytes of a batch say what the message of the contract, built field by field, says."""

from __future__ import annotations

from decimal import Decimal

import protovalidate
from hypothesis import given
from hypothesis import strategies as st
from quantum.ai.v1 import signal_pb2

from services.ai.batch_wire import batch_to_bytes
from services.ai.codec import signal_to_pb
from services.ai.core.answers import Answer, Batch
from services.ai.core.ensemble import Action, HoldReason, Prediction, hold
from services.ai.core.outputs import ModelOutput, Outputs
from services.ai.core.signals import make_signal
from services.trade.candle import Candle
from services.trade.codec import time_to_pb
from tests.unit.ai.candle_samples import candle, manifest

ACTIONS = {
    Action.BUY: signal_pb2.ACTION_BUY,
    Action.SELL: signal_pb2.ACTION_SELL,
    Action.HOLD: signal_pb2.ACTION_HOLD,
}
share = st.floats(0, 1)
three = st.tuples(share, share, share)


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    """Return any prediction of one round."""
    symbol = draw(st.sampled_from(["BTCUSDT", "A", "LONGNAMEDSYMBOLUSDT", "1000PEPEUSDT"]))
    one = candle(7, symbol, close=Decimal("107.5"))
    if draw(st.booleans()):
        return hold(one, draw(st.sampled_from([HoldReason.NOT_WARM, HoldReason.INVALID_WINDOW])))
    names = draw(st.sampled_from([("lightgbm",), ("lightgbm", "xgboost", "nhits", "patchtst")]))
    said = ModelOutput(True, draw(share), draw(three), tuple(draw(three) for _ in names))
    action = draw(st.sampled_from(list(Action)))
    reason = HoldReason.NONE if action is not Action.HOLD else HoldReason.BELOW_THRESHOLD
    weights = tuple(draw(share) for _ in names)
    others = draw(st.integers(0, 2))
    outputs = Outputs.of([*[said] * others, said])
    return Prediction(
        one, action, draw(share), reason, draw(share), outputs, others, names, weights
    )


def built(batch: Batch) -> signal_pb2.PredictionBatch:
    """Return the message, built as protobuf builds it."""
    message = signal_pb2.PredictionBatch(
        venue=batch.venue,
        model_version=batch.model_version,
        signals=[signal_to_pb(a.signal) for a in batch.answers if a.signal is not None],
        in_sample=batch.in_sample,
    )
    for answer in batch.answers:
        prediction, one = answer.prediction, answer.prediction.candle
        down, flat, up = prediction.probabilities
        message.predictions.add(
            symbol=one.symbol,
            timeframe=one.timeframe,
            candle_open_time=time_to_pb(one.open_time),
            candle_close_time=time_to_pb(one.close_time),
            action=ACTIONS[prediction.action],
            confidence=prediction.confidence,
            p_down=down,
            p_flat=flat,
            p_up=up,
            hold_reason=prediction.hold_reason.value,
            signal_id=answer.signal.signal_id if answer.signal else "",
            votes=[
                signal_pb2.ModelVote(
                    model=v.model, p_down=v.p_down, p_flat=v.p_flat, p_up=v.p_up, weight=v.weight
                )
                for v in prediction.votes
            ],
        )
    return message


def batch_of(found: list[Prediction], *, in_sample: bool = False) -> Batch:
    answers = tuple(Answer(p, make_signal(p, manifest(), 300_000)) for p in found)
    one: Candle = found[0].candle
    return Batch("paper", "1m", one.close_time, answers, "test-1", in_sample)


@given(st.lists(predictions(), min_size=1, max_size=12), st.booleans())
def test_the_bytes_read_as_the_message(found: list[Prediction], in_sample: bool) -> None:
    batch = batch_of(found, in_sample=in_sample)
    assert signal_pb2.PredictionBatch.FromString(batch_to_bytes(batch)) == built(batch)


@given(st.lists(predictions(), min_size=1, max_size=4))
def test_the_contract_accepts_it(found: list[Prediction]) -> None:
    protovalidate.validate(signal_pb2.PredictionBatch.FromString(batch_to_bytes(batch_of(found))))


def test_the_bytes_hold_no_field_that_the_contract_does_not_know() -> None:
    outputs = Outputs.of([ModelOutput(True, 0.1, (0.1, 0.2, 0.7), ((0.1, 0.2, 0.7),))])
    found = Prediction(candle(7), Action.BUY, 0.7, HoldReason.NONE, 1.0, outputs, 0, ("a",), (1.0,))
    batch = batch_of([found, found])
    read = signal_pb2.PredictionBatch.FromString(batch_to_bytes(batch))
    canonical = signal_pb2.PredictionBatch(in_sample=False)
    canonical.CopyFrom(read)
    canonical.DiscardUnknownFields()
    assert canonical.SerializeToString(deterministic=True) == read.SerializeToString(
        deterministic=True
    )
