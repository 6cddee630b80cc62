"""Runs one replica of the ai service: `python -m services.ai`."""

from __future__ import annotations

import sys

from services.ai.app import make_build
from services.ai.settings import Settings
from services.catalog.processes import AI
from services.kit.process import run
from services.kit.settings import load


def main() -> int:
    """Read the settings and serve until a signal; return the exit code."""
    settings = load(Settings)
    return run(AI, settings, make_build(settings))


if __name__ == "__main__":
    sys.exit(main())
