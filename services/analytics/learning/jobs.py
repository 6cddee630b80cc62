"""Trainings as the learning replica sees them: candles handed over, the command, the progress."""

from __future__ import annotations

import asyncio
import hashlib
import io
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from quantum.analytics.v1 import learning_pb2 as pb

from services.analytics.core.learning.candle_book import CHUNK
from services.analytics.core.learning.states import Learning
from services.analytics.learning.settings import LearningSettings
from services.analytics.learning.views import LearningViews
from services.catalog import subjects
from services.catalog.processes import ANALYTICS
from services.kit.bus.bus import Bus, Follower, Message
from services.kit.bus.objects import Objects
from services.kit.observe.logs import get_logger
from services.trade.barrier_label import LabelRule
from services.trade.times import DAY_MS, from_datetime, timeframe_ms

log = get_logger(__name__)

_LEAST_BARS = 5 * CHUNK
"""A gap-free run of fewer candles is not worth its window and horizon."""
_SEED = 7


class NoCandles(Exception):
    """There is nothing to train on yet; the message says how much there is."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the trainer said last of a job."""

    job_id: str
    state: str
    """RUNNING, COMPLETED, FAILED or CANCELED."""
    progress: float
    version: str
    error: str


class Jobs:
    """Hands trainings to the trainer and hears what it says."""

    def __init__(
        self, *, bus: Bus, views: LearningViews, settings: LearningSettings, rule: LabelRule
    ) -> None:
        self._bus = bus
        self._views = views
        self._settings = settings
        self._rule = rule
        self._objects = Objects(bus, subjects.TRAINING_BUCKET)
        self._follower: Follower | None = None
        self._heard: list[Heard] = []

    async def start(self) -> None:
        """Hear the trainer: what it said last of each job, and all that follows."""
        self._follower = await self._bus.follow(
            subjects.LIVE.name, subjects.ALL_TRAINING_PROGRESS, self._hear, start="last"
        )

    async def stop(self) -> None:
        """Hear no more."""
        if self._follower is not None:
            await self._follower.stop()

    def take(self) -> list[Heard]:
        """Return what was heard since the last call."""
        heard, self._heard = self._heard, []
        return heard

    async def request(self, state: Learning, now: int, wall: datetime) -> None:
        """Hand the candles over and put the job into the queue; repeating it changes nothing.

        NoCandles when there are too few.
        """
        name = f"{state.job_id}.npz"
        content = await self._objects.get(name)
        if content is None:
            content = await self._dataset(now)
            await self._objects.put(name, content, {"job": state.job_id}, wall)
        command = pb.TrainCommand(
            job_id=state.job_id,
            dataset=name,
            dataset_sha256=hashlib.sha256(content).hexdigest(),
            plan=self._plan(),
            time_limit_seconds=int(self._settings.clm_training_minutes * 60),
            reasons=state.reasons,
        )
        await self._bus.publish(
            subjects.train_command(state.job_id),
            command.SerializeToString(deterministic=True),
            message_id=state.job_id,
            headers={
                subjects.HEADER_TYPE: "train",
                subjects.HEADER_SOURCE: ANALYTICS.name,
                subjects.HEADER_TIME: str(now),
            },
        )

    async def cancel(self, job_id: str, reason: str) -> None:
        """Have the trainer stop a job."""
        message = pb.CancelTraining(job_id=job_id, reason=reason)
        await self._bus.publish(
            subjects.training_cancel(job_id),
            message.SerializeToString(),
            message_id=f"cancel-{job_id}",
        )

    def _hear(self, message: Message) -> None:
        try:
            said = pb.TrainingProgress.FromString(message.data)
        except DecodeError:
            log.error("training_progress_unreadable", subject=message.subject)
            return
        state = pb.TrainingState.Name(said.state).removeprefix("TRAINING_STATE_")
        self._heard.append(Heard(said.job_id, state, said.progress, said.model_version, said.error))

    async def _dataset(self, now: int) -> bytes:
        since = now - int(self._settings.clm_training_days * DAY_MS)
        found = await self._views.candles(since, self._settings.clm_training_symbols)
        return await asyncio.to_thread(pack_candles, found)

    def _plan(self) -> pb.TrainingPlan:
        settings = self._settings
        return pb.TrainingPlan(
            every=settings.clm_training_every,
            folds=settings.clm_training_folds,
            rounds=settings.clm_training_rounds,
            leaves=15,
            epochs=settings.clm_training_epochs,
            trees_only=settings.clm_trees_only,
            horizon=self._rule.horizon,
            barrier=self._rule.atr_multiple,
            seed=_SEED,
        )


def pack_candles(found: dict[tuple[str, str, str], Any]) -> bytes:
    """Return gap-free series as one block: `<symbol>.<timeframe>.<n>.times` and `.bars` each."""
    columns: dict[str, Any] = {}
    bars_in_all = 0
    for (_, symbol, timeframe), (starts, chunks) in found.items():
        step = timeframe_ms(timeframe)
        opens = np.array([from_datetime(start) for start in starts], dtype=np.int64)
        breaks = np.flatnonzero(np.diff(opens) != CHUNK * step) + 1
        for number, run in enumerate(np.split(np.arange(opens.size), breaks)):
            if run.size * CHUNK < _LEAST_BARS:
                continue
            bars = np.concatenate([chunks[i] for i in run])
            bars_in_all += len(bars)
            name = f"{symbol}.{timeframe}.{number}"
            columns[f"{name}.times"] = opens[run[0]] + np.arange(len(bars), dtype=np.int64) * step
            columns[f"{name}.bars"] = bars
    if not columns:
        raise NoCandles(f"no symbol has {_LEAST_BARS} candles without a gap yet")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **columns)
    return buffer.getvalue()
