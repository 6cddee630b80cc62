"""`qt models hits` and `qt models retrain`: how often the models are right, and a new training."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated

import typer
from quantum.analytics.v1 import learning_pb2 as pb
from rich.table import Table

from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.gateway_client import as_json, connected
from services.ctl.supervisor.home import Home, Refused

_WINDOWS = ("24h", "1d", "7d", "30d")
_COLUMNS = (
    "model", "used as", "outcomes", "hit rate", "95 %", "direction", "log-loss", "calibration",
    "gives", "R", "score", "status", "trend",
)  # fmt: skip


def hits(
    window: Annotated[str, typer.Option(help="24h, 1d, 7d or 30d of market time.")] = "24h",
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show what came of each model's predictions after their horizon, before costs.

    Example: qt models hits --window 7d
    """
    if window not in _WINDOWS:
        raise Refused(f"--window is {window!r}; it is one of {', '.join(_WINDOWS)}")

    async def ask() -> pb.GetModelPerformanceResponse:
        async with connected(Home(home)) as client:
            return await client.model_results(window)

    found = asyncio.run(ask())
    answer(as_json(found), _table(found, window), json_)


def retrain(
    reason: Annotated[str, typer.Option(help="Why; it is kept with the training.")],
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Ask for a training now; its artifact goes into the shadow, and is promoted only by rule.

    Example: qt models retrain --reason "new symbols"
    """

    async def ask() -> pb.TriggerRetrainingResponse:
        async with connected(Home(home)) as client:
            return await client.retrain(reason, str(uuid.uuid4()))

    told = asyncio.run(ask())
    if not told.accepted:
        raise Refused(f"no training is begun: {told.message}")
    answer(as_json(told), told.message, json_)


def _table(found: pb.GetModelPerformanceResponse, window: str) -> Table:
    table = Table(*_COLUMNS, title=f"what came of predictions, {window}")
    version = ""
    for m in found.models:
        if m.model_version != version:
            version = m.model_version
            table.add_section()
            table.add_row(f"[bold]{version}[/]")
        table.add_row(
            m.model,
            m.stage,
            f"{m.samples:.0f}",
            f"{m.hit_rate:.1%}",
            f"{m.hit_rate_low:.1%} to {m.hit_rate_high:.1%}",
            f"{m.direction_hit_rate:.1%}",
            f"{m.log_loss:.4f}",
            f"{m.calibration_error:.3f}",
            f"{m.contribution:+.4f}",
            f"{m.average_r:+.3f}",
            f"{m.score:.2f}",
            m.status,
            m.trend,
        )
    return table
