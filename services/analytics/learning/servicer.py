"""Answers about models: how they do, and what is done about it."""

from __future__ import annotations

from typing import Any

import grpc
from quantum.analytics.v1 import analytics_service_pb2 as service
from quantum.analytics.v1 import learning_pb2 as pb

from services.analytics.core.learning.samples import ENSEMBLE
from services.analytics.core.learning.supervisor import verdict
from services.analytics.core.learning.tally import NOTHING, Tally, interval
from services.analytics.learning.codec import stage_to_pb
from services.analytics.learning.progress import Progress
from services.analytics.learning.samples_store import TallyKey
from services.analytics.learning.views import LearningViews
from services.analytics.policy.servicer import database_errors
from services.trade.codec import time_to_pb
from services.trade.times import DAY_MS

Context = grpc.aio.ServicerContext[Any, Any]

_WINDOWS = {"": 1, "24h": 1, "1d": 1, "7d": 7, "30d": 30}
"""Days of market time."""


class LearningRpcs:
    """Answers from PostgreSQL alone, so that every replica says the same."""

    _learning: LearningViews

    async def GetModelPerformance(
        self, request: pb.GetModelPerformanceRequest, context: Context
    ) -> pb.GetModelPerformanceResponse:
        """Return what came of each model's predictions within a window."""
        with database_errors():
            end = (await self._learning.progress()).judged_until
            length = _WINDOWS[request.window] * DAY_MS
            start, middle = max(0, end - length), max(0, end - length // 2)
            older = await self._learning.tallies(start, middle)
            newer = await self._learning.tallies(middle, end)
        keys = sorted({*older, *newer}, key=_order)
        pairs = [(key, older.get(key, NOTHING), newer.get(key, NOTHING)) for key in keys]
        span = {"from": time_to_pb(start), "to": time_to_pb(end)} if start else {}
        return pb.GetModelPerformanceResponse(
            models=[_performance(key, before, after) for key, before, after in pairs], **span
        )

    async def TriggerRetraining(
        self, request: pb.TriggerRetrainingRequest, context: Context
    ) -> pb.TriggerRetrainingResponse:
        """Take a person's request for a training; a repeated id gets its first answer."""
        with database_errors():
            answer = await self._learning.ask(request.request_id, request.reason)
        return pb.TriggerRetrainingResponse(
            accepted=answer.accepted, stage=stage_to_pb(answer.stage), message=answer.message
        )


def learning_state(progress: Progress, predictions: int) -> service.LearningState:
    """Write where learning stands for the health answer."""
    state = progress.state
    return service.LearningState(
        samples_collected=predictions,
        outcomes_known=progress.samples,
        drift_detected=bool(progress.drifting),
        last_retrain_time=time_to_pb(state.last_retrain) if state.last_retrain else None,
        stage=state.stage.value,
        job_id=state.job_id,
        progress=state.progress,
        reasons=state.reasons,
    )


def _order(key: TallyKey) -> tuple[str, str, bool, str]:
    stage, version, model = key
    return (stage, version, model != ENSEMBLE, model)


def _performance(key: TallyKey, older: Tally, newer: Tally) -> pb.ModelPerformance:
    stage, version, model = key
    whole = older + newer
    said = verdict(whole, older, newer)
    low, high = interval(whole.hits, whole.samples)
    return pb.ModelPerformance(
        model=model,
        model_version=version,
        stage=stage,
        samples=whole.samples,
        hit_rate=whole.hit_rate,
        direction_hit_rate=whole.direction_hit_rate,
        log_loss=whole.log_loss,
        brier=whole.brier,
        calibration_error=whole.calibration_error,
        contribution=whole.contribution,
        average_r=whole.average_r,
        profit_factor=whole.profit_factor,
        score=said.score,
        status=said.status.value,
        trend=said.trend.value,
        weight=whole.weight,
        hit_rate_low=low,
        hit_rate_high=high,
    )
