"""Settings of the trainer."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.kit.settings import ProcessSettings


class TrainerSettings(ProcessSettings):
    """What the trainer needs to know."""

    trainer_folder: Path = Path(".quantum/trainer")
    """Where a job's candles and finished fits lie; an interrupted job goes on from them."""
    trainer_nice: int = Field(default=15, ge=0, le=19)
    """How far a training steps back behind every other process of the machine."""
