"""`python -m services.trainer`: run the trainer."""

from __future__ import annotations

import sys

from services.catalog.processes import TRAINER
from services.kit.process import run
from services.kit.settings import load
from services.trainer.app import build_with
from services.trainer.settings import TrainerSettings


def main() -> int:
    """Read the settings and serve until a signal; return the exit code."""
    settings = load(TrainerSettings)
    return run(TRAINER, settings, build_with(settings))


if __name__ == "__main__":
    sys.exit(main())
