"""Measures the system against its own parts, in one run: `python tests/performance_benchmark.py`.

Every row is a ratio to a floor that was measured in the same run on the same machine. Nothing
here is a test: numbers depend on what else runs, and no build fails by them.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from services.kit.garbage import search_seldom
from tests.benchmarks import (
    candle_to_order,
    candle_to_signal,
    event_sink,
    health_under_load,
    mesh_call,
    risk_core,
    serving,
    signal_to_order,
)
from tests.benchmarks.rows import Row

Measure = Callable[[Path], Awaitable[list[Row]]]


async def _sink(home: Path) -> list[Row]:
    return [await event_sink.measure(home)]


ROWS: dict[str, Measure] = {
    "signal": candle_to_signal.measure,
    "serving": serving.measure,
    "order": candle_to_order.measure,
    "execution": signal_to_order.measure,
    "core": risk_core.measure,
    "sink": _sink,
    "health": health_under_load.measure,
    "mesh": mesh_call.measure,
}

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


@app.command()
def main(
    row: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(ROWS)}; again for more.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Where the JSON goes too.")] = None,
) -> None:
    """Measure the chosen rows, or all, and show them as ratios."""
    chosen = row or list(ROWS)
    for name in chosen:
        if name not in ROWS:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(ROWS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    search_seldom()  # this and uvloop as in every process
    rows: list[Row] = uvloop.run(_measure(chosen))
    Console().print(_table(rows))
    if output is not None:
        output.write_text(json.dumps(_report(rows), indent=2) + "\n", encoding="utf-8")


async def _measure(names: list[str]) -> list[Row]:
    console, rows = Console(stderr=True), []
    for name in names:
        # PostgreSQL may run under another account, so its folder must be readable
        home = Path(tempfile.mkdtemp(prefix=f"quantum-bench-{name}-"))
        home.chmod(0o755)
        try:
            with console.status(f"measuring {name}"):
                rows += await ROWS[name](home)
        finally:
            shutil.rmtree(home, ignore_errors=True)
    return rows


def _table(rows: list[Row]) -> Table:
    table = Table(title=f"{os.cpu_count()} cores, Python {platform.python_version()}")
    for title in ("path", "measured", "floor", "ratio", "aim"):
        table.add_column(title)
    for row in rows:
        sign = "≥" if row.higher_is_better else "≤"
        style = "green" if row.met else "red"
        ratio = f"[{style}]{row.ratio:.2f}[/{style}]"
        table.add_row(row.path, row.measured, row.floor, ratio, f"{sign} {row.aim:g}")
    return table


def _report(rows: list[Row]) -> dict[str, object]:
    return {
        "time": datetime.now(UTC).isoformat(),
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "rows": [asdict(row) | {"met": row.met} for row in rows],
    }


if __name__ == "__main__":
    app()
