"""Every command of `qt`: where it lies, and the line that a listing shows of it.

A module is imported when its command is called: a listing or a completion needs none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

HERE = "services.ctl.commands"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command, or a group of commands, is defined."""

    module: str
    """Below this package, unless it is the name of another one."""
    attribute: str
    summary: str
    """First line of its help."""

    def load(self) -> Any:
        """Import it: a function, or a `typer.Typer` that holds a group."""
        module = self.module if "." in self.module else f"{HERE}.{self.module}"
        return getattr(import_module(module), self.attribute)


COMMANDS: Mapping[str, Place] = {
    "up": Place(
        "up", "up", "Start the system on this machine, or the named parts and what they need."
    ),
    "down": Place(
        "operate",
        "down",
        "Stop everything in order, or the named parts while the others go on; the data stays.",
    ),
    "ps": Place("operate", "ps", "Show the processes: state, address, restarts."),
    "logs": Place(
        "logs",
        "logs",
        "Show the logs of services, or of all, by time; what was rotated away is read too.",
    ),
    "stats": Place(
        "stats",
        "stats",
        "Show CPU, memory, threads and open files of each process and of those it started.",
    ),
    "restart": Place(
        "restart",
        "restart",
        "Stop services in order and start them again; all parts, servers too, when none is named.",
    ),
    "restore": Place(
        "backup",
        "restore",
        "Verify an archive, stop, put its data in place, start, compare with the exchange, resume.",
    ),
    "drain": Place(
        "modes",
        "drain",
        "Take all replicas of services out of rotation; they finish what they have and stay alive.",
    ),
    "scale": Place(
        "operate", "scale", "Change how many replicas of a service run; it is remembered."
    ),
    "positions": Place("money", "positions", "Show positions with their protective orders."),
    "pnl": Place(
        "money", "pnl", "Show profit by UTC day after commission and funding, and the account."
    ),
    "signals": Place("money", "signals", "Show the last signals that were made, the newest first."),
    "report": Place(
        "report",
        "report",
        "Show what a span of market time brought: money, trades, equity, health.",
    ),
    "trade": Place(
        "report",
        "trade",
        "Show one trade: its fills, its costs, its risk, and how far the price went.",
    ),
    "opportunities": Place(
        "money", "opportunities", "Show the symbols that the last scan of the universe ranked best."
    ),
    "verify": Place(
        "verify",
        "verify",
        "Check that every process is ready and every health port says so; exit 1 when not.",
    ),
    "health": Place(
        "health",
        "health",
        "Show how every replica and backing part is, and why; exit 1 unless all are healthy.",
    ),
    "doctor": Place(
        "doctor",
        "doctor",
        "Check versions, ports, disk, limits, settings and keys; exit 1 if something is wrong.",
    ),
    "simulate": Place(
        "services.lab.simulation.command",
        "simulate",
        "Run the real core and shell of exec_risk under seeded faults, and check what must hold.",
    ),
    "reconcile": Place(
        "reconcile",
        "reconcile",
        "Compare orders, positions, fills and money with the exchange; with --apply repair them.",
    ),
    "trace": Place(
        "trace",
        "trace",
        "Show a trace as a tree: offset from its begin, duration, service, what it was about.",
    ),
    "run": Place(
        "run",
        "run",
        "Run one service, restart it when it hangs or dies; settings come from the environment.",
    ),
    "streams": Place(
        "identities",
        "streams",
        "Create the streams of the bus, or bring existing ones to their declared limits.",
    ),
    "identities": Place(
        "identities",
        "identities",
        "Make a key for each user of the bus and a password for each role of the database.",
    ),
    "setup": Place(
        "setup",
        "setup",
        "Make keys, passwords and server certificates; keep what is there, renew what is old.",
    ),
    "alerts": Place("alerts", "app", "Shows alerts and takes them."),
    "backup": Place("backup", "app", "Take a backup; list, check and schedule backups."),
    "certs": Place("certs", "app", "Certificates of the mesh: local CA, one leaf per identity."),
    "check": Place("check", "app", "Looks at everything that an operator looks at."),
    "db": Place("db", "app", "The database: its upkeep, its size, old events into files and back."),
    "diagnose": Place(
        "diagnose", "app", "Find out what is wrong, by the playbooks of the operations guide."
    ),
    "events": Place("events", "app", "Events on the bus: counts, the last ones, one of them."),
    "dlq": Place("events", "dlq", "Dead letters: messages that kept failing, and why."),
    "maintenance": Place(
        "modes", "maintenance", "Planned maintenance: no entries, exits go on, users are told."
    ),
    "models": Place("models", "app", "The models: train, store, deploy, compare and roll back."),
    "order": Place("orders", "app", "Submits, cancels and shows orders."),
    "policy": Place(
        "policy", "app", "Show the fund's policy, change it, or go back to what it was."
    ),
    "token": Place(
        "token",
        "app",
        "Prints a token for the gateway; shows and rotates the keys that sign tokens.",
    ),
    "venue": Place("venue", "app", "The paper venue: its faults."),
    "emergency": Place(
        "switches", "emergency", "Pull the emergency stop, or reset it when it is safe again."
    ),
    "state": Place("switches", "state", "Move the account's trading state."),
}


class Listed(TyperGroup):
    """The group of all commands; what is listed stands for what is imported when it is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command itself, and the words that are its own."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed if name is None else group([name]).commands[name], rest


def group(names: Iterable[str]) -> TyperGroup:
    """Import these commands and return the group of them."""
    held = typer.Typer()
    for name in names:
        found = COMMANDS[name].load()
        if isinstance(found, typer.Typer):
            held.add_typer(found, name=name)
        else:
            held.command(name)(found)
    return typer.main.get_group(held)


def listed() -> typer.Typer:
    """Return `qt` with nothing imported yet."""
    app = typer.Typer(
        cls=Listed,
        help="Runs and operates Quantum Trader.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    for name, place in COMMANDS.items():
        app.command(name, help=place.summary)(_stand_in)
    return app


def _stand_in() -> None:
    """Stand for a command that is not imported yet."""
