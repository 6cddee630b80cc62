"""One job at a time: candles from the object store, a child that trains, the artifact back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from quantum.analytics.v1 import learning_pb2 as pb

from services.catalog import subjects
from services.catalog.events import TRAINING_PROGRESS
from services.catalog.processes import TRAINER
from services.kit.bus.bus import Bus, BusUnavailable, Delivery, Message
from services.kit.bus.objects import ObjectDamaged, ObjectExists, Objects
from services.kit.clock import Clock
from services.kit.folders import pack
from services.kit.observe.logs import get_logger
from services.kit.observe.metrics import Metrics
from services.trainer.child import ChildFailed, TrainingChild

log = get_logger(__name__)

ACK_WAIT = 30.0
"""Seconds after which a trainer that says nothing has lost its job to the next one."""
NEVER_GIVE_UP = 1 << 30
_ALIVE_SECONDS = 8.0
_REMEMBERED = 200
_FILES = ("model.onnx", "manifest.json", "golden.npz", "report.html")


class JobFailed(Exception):
    """The job cannot be done; the message says why."""


class TrainingWorker:
    """Does what the queue asks for."""

    def __init__(
        self,
        *,
        bus: Bus,
        clock: Clock,
        candles: Objects,
        models: Objects,
        folder: Path,
        nice: int,
        metrics: Metrics,
        progress: MutableMapping[str, float],
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._candles = candles
        self._models = models
        self._folder = folder
        self._nice = nice
        self._progress = progress
        self._done = metrics.counter("trainings_total", "Trainings ended, by how.", ("result",))
        self._cancelled: dict[str, str] = {}
        self._child: TrainingChild | None = None
        self._job = ""
        self._interrupted = False

    def cancel(self, message: Message) -> None:
        """Stop a job, also one that has not begun."""
        try:
            told = pb.CancelTraining.FromString(message.data)
        except DecodeError:
            log.error("cancel_unreadable", subject=message.subject)
            return
        while len(self._cancelled) >= _REMEMBERED:
            self._cancelled.pop(next(iter(self._cancelled)))
        self._cancelled[told.job_id] = told.reason or "cancelled"
        if told.job_id == self._job and self._child is not None:
            self._child.kill()

    async def interrupt(self) -> None:
        """Leave the job in hand to the next trainer, which goes on where this one was."""
        self._interrupted = True
        if self._child is not None:
            self._child.kill()

    async def handle(self, deliveries: list[Delivery]) -> None:
        """Do each job; one that is interrupted goes back into the queue."""
        for delivery in deliveries:
            try:
                command = pb.TrainCommand.FromString(delivery.data)
            except DecodeError as error:
                await delivery.reject(f"no TrainCommand: {error}")
                continue
            alive = asyncio.create_task(self._stay(delivery), name="still-training")
            try:
                await self._do(command)
            finally:
                alive.cancel()
                await asyncio.gather(alive, return_exceptions=True)
            if self._interrupted:
                await delivery.nak(0)

    async def _stay(self, delivery: Delivery) -> None:
        while True:
            await delivery.working()
            await self._clock.sleep(_ALIVE_SECONDS)

    async def _do(self, command: pb.TrainCommand) -> None:
        self._job, began = command.job_id, self._clock.monotonic()
        said = pb.TrainingProgress(job_id=command.job_id, state=pb.TRAINING_STATE_RUNNING)
        try:
            await self._say(said, began)
            await self._train(command, said, began)
            said.state = pb.TRAINING_STATE_COMPLETED
        except (JobFailed, ChildFailed, ObjectDamaged, ObjectExists, OSError) as error:
            said.state, said.error = pb.TRAINING_STATE_FAILED, str(error)[:1000]
        finally:
            self._job, self._child = "", None
        if reason := self._cancelled.get(command.job_id):
            said.state, said.error = pb.TRAINING_STATE_CANCELED, reason
        if self._interrupted and said.state != pb.TRAINING_STATE_COMPLETED:
            return
        await self._say(said, began)
        result = pb.TrainingState.Name(said.state).removeprefix("TRAINING_STATE_").lower()
        self._done.labels(result).inc()
        log.info("training_ended", job=command.job_id, result=result, error=said.error)
        shutil.rmtree(self._folder / command.job_id, ignore_errors=True)

    async def _train(
        self, command: pb.TrainCommand, said: pb.TrainingProgress, began: float
    ) -> None:
        if command.job_id in self._cancelled:
            raise JobFailed("cancelled before it began")
        folder = await self._prepare(command)
        self._child = TrainingChild(folder, nice=self._nice)

        async def heard(step: str, progress: float) -> None:
            said.step, said.progress = step, progress
            self._progress["training"] = progress
            await self._say(said, began)

        try:
            async with asyncio.timeout(command.time_limit_seconds):
                result = await self._child.run(heard)
        except TimeoutError as error:
            self._child.kill()
            limit = command.time_limit_seconds
            raise JobFailed(f"not done within its limit of {limit} s") from error
        await self._store(folder, result)
        said.model_version, said.model_sha256 = result["version"], result["summary"]["sha256"]
        said.progress = 1.0

    async def _prepare(self, command: pb.TrainCommand) -> Path:
        """Put candles and plan into the job's folder; what is there from before stays."""
        folder = self._folder.resolve() / command.job_id
        folder.mkdir(parents=True, exist_ok=True)
        content = await self._candles.get(command.dataset)
        if content is None:
            raise JobFailed(f"{command.dataset} is not in the object store")
        if hashlib.sha256(content).hexdigest() != command.dataset_sha256:
            raise JobFailed(f"{command.dataset} is not what the job names")
        (folder / "candles.npz").write_bytes(content)
        plan = MessageToDict(
            command.plan,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        return folder

    async def _store(self, folder: Path, result: dict[str, Any]) -> None:
        made = folder / "out" / result["version"]
        files = {name: (made / name).read_bytes() for name in _FILES}
        now = self._clock.now()
        await self._models.put(result["version"], pack(files), result["summary"], now)

    async def _say(self, said: pb.TrainingProgress, began: float) -> None:
        said.seconds = self._clock.monotonic() - began
        data = said.SerializeToString(deterministic=True)
        try:
            await self._bus.publish(
                subjects.training_progress(said.job_id),
                data,
                message_id=f"training-{hashlib.sha256(data).hexdigest()[:32]}",
                headers={
                    subjects.HEADER_TYPE: TRAINING_PROGRESS,
                    subjects.HEADER_SOURCE: TRAINER.name,
                },
            )
        except BusUnavailable as error:
            if said.state != pb.TRAINING_STATE_RUNNING:
                raise
            log.warning("progress_not_told", error=str(error))
