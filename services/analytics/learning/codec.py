"""Between the learning core, its rows and its messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from quantum.ai.v1 import signal_pb2 as ai
from quantum.analytics.v1 import learning_pb2 as pb

from services.analytics.core.learning.candle_book import SeriesKey
from services.analytics.core.learning.drift import Finding
from services.analytics.core.learning.samples import Answer, Stage, Voted
from services.analytics.core.learning.states import Learning, LearningStage, Told
from services.analytics.core.learning.tally import Tally
from services.catalog import subjects
from services.catalog.events import LEARNING_EVENT, MODEL_DRIFT_DETECTED
from services.catalog.processes import ANALYTICS
from services.kit.bus.message import Outgoing
from services.kit.observe.trace_context import traceparent
from services.trade.codec import time_from_pb, time_to_pb
from services.trade.ids import digest, trace_id

FUND = "fund"
"""Account token of facts that belong to no account."""


def answers_of(payload: bytes) -> Iterator[Answer]:
    """Read a prediction batch; what the models were not asked about is left out."""
    batch = ai.PredictionBatch.FromString(payload)
    stage = Stage.SHADOW if batch.shadow else Stage.ACTIVE
    for p in batch.predictions:
        if not p.votes or p.p_down + p.p_flat + p.p_up < 0.5:
            continue
        yield Answer(
            series=SeriesKey(batch.venue, p.symbol, p.timeframe),
            candle_open=time_from_pb(p.candle_open_time),
            model_version=batch.model_version,
            stage=stage,
            probabilities=(p.p_down, p.p_flat, p.p_up),
            votes=tuple(Voted(v.model, (v.p_down, v.p_flat, v.p_up), v.weight) for v in p.votes),
            in_sample=batch.in_sample,
        )


def state_to_json(state: Learning) -> str:
    """Write the state of the loop."""
    values = asdict(state)
    values["standard"] = state.standard.numbers()
    return json.dumps(values)


def state_from_json(text: str) -> Learning:
    """Read it back; the first state when nothing was written yet."""
    values = json.loads(text)
    if not values:
        return Learning()
    values["stage"] = LearningStage(values["stage"])
    values["reasons"] = tuple(values["reasons"])
    values["standard"] = Tally.from_numbers(values["standard"])
    return Learning(**values)


def event_of(told: Told, state: Learning, before: Learning, samples: int, now: int) -> Outgoing:
    """Return the fact of one step; the same step has the same id."""
    job = state.job_id or before.job_id
    message = pb.LearningEvent(
        event_type=pb.LearningEventType.Value(f"LEARNING_EVENT_TYPE_{told.step.value}"),
        stage=stage_to_pb(state.stage),
        job_id=job,
        model_version_before=state.before or before.before,
        model_version_after=state.candidate or before.candidate,
        reasons=told.reasons or state.reasons,
        progress=state.progress,
        training_samples=float(samples),
        time=time_to_pb(now),
    )
    return _fact(LEARNING_EVENT, message, digest(LEARNING_EVENT, job, told.step.value, now), now)


def drift_of(finding: Finding, version: str, now: int) -> Outgoing:
    """Return the fact of a drift."""
    message = pb.ModelDriftDetected(
        model=finding.model,
        model_version=version,
        quantity=finding.quantity,
        severity=finding.severity.value,
        psi=finding.psi,
        ks_p=finding.ks_p,
        reason=finding.reason,
        time=time_to_pb(now),
    )
    key = digest(MODEL_DRIFT_DETECTED, version, finding.key, now)
    return _fact(MODEL_DRIFT_DETECTED, message, key, now)


def stage_to_pb(stage: LearningStage) -> pb.LearningStage.ValueType:
    """Write a stage."""
    return pb.LearningStage.Value(f"LEARNING_STAGE_{stage.value}")


def _fact(
    event_type: str, message: pb.LearningEvent | pb.ModelDriftDetected, key: str, now: int
) -> Outgoing:
    return Outgoing(
        subjects.event(event_type, FUND, "models"),
        message.SerializeToString(deterministic=True),
        key,
        {
            subjects.HEADER_TYPE: event_type,
            subjects.HEADER_SOURCE: ANALYTICS.name,
            subjects.HEADER_TIME: str(now),
            subjects.HEADER_TRACE: traceparent(trace_id(f"learning.{now}")),
        },
    )
