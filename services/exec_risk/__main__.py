"""exec_risk from the command line: serve, migrate, settings."""

from __future__ import annotations

import asyncio
import json
import sys

from services.catalog.processes import EXEC_RISK
from services.exec_risk.app import MIGRATIONS, SCHEMA, build
from services.exec_risk.settings import Settings
from services.kit import process
from services.kit.postgres import migrate
from services.kit.settings import load

USAGE = "usage: python -m services.exec_risk [serve | migrate | settings]\n"


def main(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    command = arguments[0] if arguments else "serve"
    if command not in ("serve", "migrate", "settings") or len(arguments) > 1:
        sys.stderr.write(USAGE)
        return 2
    settings = load(Settings)
    if command == "settings":
        sys.stdout.write(json.dumps(settings.model_dump(mode="json"), indent=2) + "\n")
        return 0
    if command == "migrate":
        where = settings.database
        for name in asyncio.run(migrate.migrate(where, SCHEMA, MIGRATIONS)):
            sys.stdout.write(f"applied {name}\n")
        return 0
    return process.run(EXEC_RISK, settings, lambda running: build(running, settings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
