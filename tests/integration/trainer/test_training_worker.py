"""The trainer on a real bus with a real training: done, cancelled, interrupted and gone on with."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from quantum.analytics.v1 import learning_pb2 as pb

from services.analytics.learning.references import read_reference
from services.catalog import subjects
from services.kit.bus.bus import Bus, Message
from services.kit.bus.objects import Objects
from services.kit.clock import SystemClock
from services.kit.folders import unpack
from services.kit.observe.metrics import Metrics
from services.trainer.consumers import ACK_WAIT, NEVER_GIVE_UP, TrainingWorker
from tests.support.eventually import eventually
from tests.unit.lab.generated_series import generated_series

pytestmark = pytest.mark.timeout(240)


@pytest_asyncio.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """A connection with all streams declared."""
    connected = await Bus.connect(nats_url, "test")
    await connected.declare(subjects.STREAMS)
    yield connected
    await connected.close()


def candles() -> bytes:
    columns: dict[str, Any] = {}
    for number, symbol in enumerate(("AAAUSDT", "BBBUSDT")):
        series = generated_series(1500, seed=number + 3, symbol=symbol)
        columns[f"{symbol}.1m.0.times"] = series.times
        columns[f"{symbol}.1m.0.bars"] = series.bars
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **columns)
    return buffer.getvalue()


class Queue:
    """A trainer's queue and what it says."""

    def __init__(self, bus: Bus, folder: Path) -> None:
        self.bus = bus
        self.folder = folder
        self.said: list[pb.TrainingProgress] = []

    def hear(self, message: Message) -> None:
        self.said.append(pb.TrainingProgress.FromString(message.data))

    def last(self, job: str) -> pb.TrainingProgress:
        return [said for said in self.said if said.job_id == job][-1]

    async def ask(self, job: str, content: bytes, *, sha256: str = "") -> None:
        store = Objects(self.bus, subjects.TRAINING_BUCKET)
        await store.put(f"{job}.npz", content, {}, SystemClock().now())
        plan = pb.TrainingPlan(
            every=3, folds=2, rounds=5, leaves=7, epochs=1, trees_only=True, horizon=15,
            barrier=2.0, seed=7,
        )  # fmt: skip
        command = pb.TrainCommand(
            job_id=job,
            dataset=f"{job}.npz",
            dataset_sha256=sha256 or hashlib.sha256(content).hexdigest(),
            plan=plan,
            time_limit_seconds=200,
        )
        await self.bus.publish(
            subjects.train_command(job), command.SerializeToString(), message_id=job
        )

    async def trainer(self) -> tuple[TrainingWorker, object]:
        clock = SystemClock()
        trainings = TrainingWorker(
            bus=self.bus,
            clock=clock,
            candles=Objects(self.bus, subjects.TRAINING_BUCKET),
            models=Objects(self.bus, subjects.MODELS_BUCKET),
            folder=self.folder,
            nice=5,
            metrics=Metrics("trainer"),
            progress={},
        )
        await self.bus.follow(subjects.LIVE.name, subjects.ALL_TRAINING_CANCELS, trainings.cancel)
        worker = await self.bus.work(
            subjects.COMMANDS.name, subjects.TRAINER_CONSUMER, subjects.TRAIN_COMMANDS,
            trainings.handle, batch=1, ack_wait=ACK_WAIT, max_deliver=NEVER_GIVE_UP,
        )  # fmt: skip
        return trainings, worker


@pytest_asyncio.fixture
async def queue(bus: Bus, tmp_path: Path) -> Queue:
    """The queue of a trainer that works in a folder of its own."""
    made = Queue(bus, tmp_path / "trainer")
    await bus.follow(subjects.LIVE.name, subjects.ALL_TRAINING_PROGRESS, made.hear)
    return made


async def test_a_job_is_gone_on_with_and_its_artifact_is_stored(queue: Queue) -> None:
    content = candles()
    await queue.ask("job-1", content)
    first, worker = await queue.trainer()
    await eventually(lambda: any(s.progress >= 0.2 for s in queue.said), deadline=100)
    await asyncio.gather(first.interrupt(), worker.stop())  # type: ignore[attr-defined]
    assert queue.last("job-1").state == pb.TRAINING_STATE_RUNNING
    assert (queue.folder / "job-1" / "candles.npz").is_file()

    await queue.trainer()
    await eventually(lambda: queue.last("job-1").state == pb.TRAINING_STATE_COMPLETED, deadline=100)
    done = queue.last("job-1")
    stored = await Objects(queue.bus, subjects.MODELS_BUCKET).get(done.model_version)
    assert stored is not None
    files = unpack(stored)
    assert hashlib.sha256(files["model.onnx"]).hexdigest() == done.model_sha256
    manifest = json.loads(files["manifest.json"])
    assert manifest["version"] == done.model_version
    assert manifest["training"]["symbols"] == ["AAAUSDT", "BBBUSDT"]
    reference = read_reference(files["manifest.json"])
    assert reference is not None and 0 < reference.expected["ensemble"].hit_rate < 1
    assert not (queue.folder / "job-1").exists()
    progress = [s.progress for s in queue.said]
    assert max(progress) == 1.0


async def test_what_is_cancelled_or_wrong_is_told(queue: Queue) -> None:
    content = candles()
    cancel = pb.CancelTraining(job_id="job-2", reason="no longer needed")
    await queue.bus.publish(
        subjects.training_cancel("job-2"), cancel.SerializeToString(), message_id="cancel-job-2"
    )
    await queue.ask("job-2", content)
    await queue.ask("job-3", content, sha256="0" * 64)
    await queue.trainer()
    await eventually(lambda: len({s.job_id for s in queue.said}) == 2, deadline=30)
    await eventually(lambda: queue.last("job-3").state == pb.TRAINING_STATE_FAILED, deadline=30)
    assert queue.last("job-2").state == pb.TRAINING_STATE_CANCELED
    assert queue.last("job-2").error == "no longer needed"
    assert "is not what the job names" in queue.last("job-3").error
