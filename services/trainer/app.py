"""The one place where the trainer is wired."""

from __future__ import annotations

import asyncio

from services.catalog import subjects
from services.kit.bus.objects import Objects
from services.kit.process import Build, Process
from services.kit.server import Servicers
from services.trainer.consumers import ACK_WAIT, NEVER_GIVE_UP, TrainingWorker
from services.trainer.settings import TrainerSettings


def build_with(settings: TrainerSettings) -> Build:
    """Return the function that wires a process with these settings."""

    async def build(process: Process) -> Servicers:
        process.components.set("queue", False, "starting")
        process.spawn("trainer", _work(process, settings))
        return []

    return build


async def _work(process: Process, settings: TrainerSettings) -> None:
    bus = await process.connect_bus()
    trainings = TrainingWorker(
        bus=bus,
        clock=process.clock,
        candles=Objects(bus, subjects.TRAINING_BUCKET),
        models=Objects(bus, subjects.MODELS_BUCKET),
        folder=settings.trainer_folder,
        nice=settings.trainer_nice,
        metrics=process.metrics,
        progress=process.progress,
    )
    process.on_drain(trainings.interrupt)
    await bus.follow(subjects.LIVE.name, subjects.ALL_TRAINING_CANCELS, trainings.cancel)
    worker = await bus.work(
        subjects.COMMANDS.name,
        subjects.TRAINER_CONSUMER,
        subjects.TRAIN_COMMANDS,
        trainings.handle,
        batch=1,
        ack_wait=ACK_WAIT,
        max_deliver=NEVER_GIVE_UP,
    )
    process.on_drain(worker.stop)
    process.components.set("queue", True)
    await asyncio.Event().wait()
