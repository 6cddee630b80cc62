"""python -m services.analytics serve | migrate | settings | rebuild | archive | restore-archive"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from pathlib import Path

from services.analytics.app import MIGRATIONS, SCHEMA, build_with
from services.analytics.ledger.archive_command import archive_older, parse_age, restore_files
from services.analytics.ledger.rebuild import LedgerIncomplete, rebuild
from services.analytics.settings import AnalyticsSettings
from services.catalog.processes import ANALYTICS
from services.kit.observe import logs
from services.kit.postgres.migrate import migrate
from services.kit.process import run
from services.kit.settings import load


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.analytics")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="run the service (the default)")
    commands.add_parser("migrate", help="bring the schema to head")
    commands.add_parser("settings", help="show the settings in force, passwords hidden")
    again = commands.add_parser("rebuild", help="make the projections anew from the ledger")
    again.add_argument("--check", action="store_true", help="only compare; exit 1 on a difference")
    old = commands.add_parser("archive", help="take old events out of the ledger into files")
    old.add_argument("--older-than", type=parse_age, default="30d", help="age, such as 30d")
    old.add_argument("--to", type=Path, required=True, help="folder of the files")
    back = commands.add_parser("restore-archive", help="put archived events back")
    back.add_argument("files", type=Path, nargs="+", metavar="FILE")
    chosen = parser.parse_args(arguments)
    settings = load(AnalyticsSettings)
    match chosen.command:
        case "migrate":
            _configure_logs(settings)
            asyncio.run(migrate(settings.database, SCHEMA, MIGRATIONS))
            return 0
        case "settings":
            sys.stdout.write(describe(settings))
            return 0
        case "rebuild":
            _configure_logs(settings)
            return _rebuild(settings, check=chosen.check)
        case "archive":
            where = settings.database
            return asyncio.run(archive_older(where, SCHEMA, chosen.to, chosen.older_than))
        case "restore-archive":
            return asyncio.run(restore_files(settings.database, SCHEMA, chosen.files))
        case _:
            return run(ANALYTICS, settings, build_with(settings))


def describe(settings: AnalyticsSettings) -> str:
    """Return one line per setting, passwords of addresses hidden."""
    lines = (f"{name.upper()}={value}" for name, value in settings.model_dump().items())
    return "\n".join(re.sub(r"(://[^:/@]+):[^@]*@", r"\1:***@", line) for line in lines) + "\n"


def _rebuild(settings: AnalyticsSettings, *, check: bool) -> int:
    try:
        report = asyncio.run(rebuild(settings.database, SCHEMA, check=check))
    except LedgerIncomplete as error:
        sys.stderr.write(f"{error}\n")
        return 2
    done = "compared" if check else "rebuilt"
    sys.stdout.write(f"{done} {report.trades} trades of {report.events} events\n")
    for difference in report.differences:
        sys.stdout.write(f"difference: {difference}\n")
    return 1 if check and report.differences else 0


def _configure_logs(settings: AnalyticsSettings) -> None:
    logs.configure(ANALYTICS.name, "command", settings.log_level, settings.log_format)


if __name__ == "__main__":
    raise SystemExit(main())
