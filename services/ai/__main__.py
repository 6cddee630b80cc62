"""Runs one replica of the ai service: `python -m services.ai`."""

from __future__ import annotations

import json
import sys

from services.ai.app import make_build
from services.ai.inference import TURN_SECONDS
from services.ai.settings import Settings
from services.catalog.processes import AI
from services.kit.process import run
from services.kit.settings import load


def main() -> int:
    """Serve until a signal, or show the settings in force; return the exit code."""
    settings = load(Settings)
    if sys.argv[1:] == ["settings"]:
        sys.stdout.write(json.dumps(settings.model_dump(mode="json"), indent=2) + "\n")
        return 0
    sys.setswitchinterval(TURN_SECONDS)
    return run(AI, settings, make_build(settings))


if __name__ == "__main__":
    sys.exit(main())
