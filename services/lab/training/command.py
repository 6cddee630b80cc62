"""`qt models train`: the command; the work is in `run`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn
from rich.table import Table

from services.trade.times import from_datetime

_FAR = "2100-01-01"


def train(
    data: Annotated[list[Path], typer.Option(help="Candle file or folder; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder that gets <version>/.")],
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Candles that are only measured on.")
    ] = None,
    start: Annotated[str, typer.Option(help="First day to train on, UTC.")] = "1970-01-01",
    end: Annotated[str, typer.Option(help="Day before which training ends, UTC.")] = _FAR,
    every: Annotated[int, typer.Option(min=1, help="Take every n-th bar as a row.")] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="Boosting rounds.")] = 100,
    leaves: Annotated[int, typer.Option(min=2, help="Leaves of a LightGBM tree.")] = 15,
    horizon: Annotated[int, typer.Option(min=1, help="Bars the move may take.")] = 15,
    folds: Annotated[int, typer.Option(min=1, help="Steps of the walk forward.")] = 5,
    seed: Annotated[int, typer.Option(help="Same seed, same artifact.")] = 7,
    activate: Annotated[bool, typer.Option(help="Make services load it.")] = False,
) -> None:
    """Train LightGBM and XGBoost on recorded candles and write a verified model artifact."""
    # OpenMP threads that spin ruin a busy machine; it must be set before the libraries load.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from services.lab.training import data as candles
    from services.lab.training import run
    from services.lab.training.boosters import BoosterPlan
    from services.lab.training.labels import LabelRule

    console = Console()
    plan = run.TrainingPlan(
        every=every,
        folds=folds,
        label=LabelRule(horizon=horizon),
        boosters=BoosterPlan(rounds=rounds, leaves=leaves, seed=seed),
    )
    try:
        first, last = _day(start), _day(end)
        series = [
            candles.between(candles.read_series(file), first, last)
            for path in data
            for file in candles.candle_files(path)
        ]
        unseen = [
            candles.read_series(file)
            for path in held_out or []
            for file in candles.candle_files(path)
        ]
        with _Bars(console) as bars:
            trained = run.train_artifact(
                series, unseen, plan, _command(data, held_out, plan, start, end), bars.report
            )
    except (ValueError, OSError) as error:
        console.print(f"cannot train: {error}", style="red")
        raise typer.Exit(1) from error
    folder = run.save(trained, out)
    if activate:
        (out / "ACTIVE").write_text(f"{trained.manifest['version']}\n", encoding="utf-8")
    _show(console, trained.manifest)
    console.print(f"wrote {folder} ({trained.manifest['bytes'] / 1e6:.2f} MB)")


class _Bars:
    """One progress bar a stage, made when the stage is first heard of."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def report(self, stage: str, done: int, total: int) -> None:
        """Advance a stage."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.advance(self._tasks[stage], done)


def _day(text: str) -> int:
    return from_datetime(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC))


def _command(data: list[Path], held_out: list[Path] | None, plan: Any, start: str, end: str) -> str:
    parts = ["qt models train"]
    parts += [f"--data {path}" for path in data]
    parts += [f"--held-out {path}" for path in held_out or []]
    parts += [f"--start {start} --end {end} --every {plan.every} --folds {plan.folds}"]
    parts += [f"--rounds {plan.boosters.rounds} --leaves {plan.boosters.leaves}"]
    parts += [f"--horizon {plan.label.horizon} --seed {plan.boosters.seed}"]
    return " ".join(parts)


def _show(console: Console, manifest: dict[str, Any]) -> None:
    walked = manifest["metrics"]["walk_forward"]
    _table(console, f"{manifest['version']}: walk forward, out of sample", walked)
    unseen = manifest["metrics"]["held_out"]
    if unseen:
        _table(console, f"held out: {len(unseen['symbols'])} symbols", unseen["scores"])
    best = min(walked[name]["log_loss"] for name in ("volatility_bins", "logistic_regression"))
    verdict = "beats" if walked["ensemble"]["log_loss"] < best else "does not beat"
    gross, cost = walked["ensemble"]["top_5_percent_gross_bp"], manifest["metrics"]["cost_bp"]
    console.print(
        f"The ensemble {verdict} the baselines in log-loss. Its most confident 5 % moved"
        f" {gross:.1f} bp its way before costs of {cost:.0f} bp:"
        f" {'above' if gross > cost else 'no profit after'} costs."
    )


def _table(console: Console, title: str, scores: dict[str, dict[str, float]]) -> None:
    columns = list(next(iter(scores.values())))
    table = Table("", *columns, title=title)
    for name, found in scores.items():
        table.add_row(name, *(f"{found[column]:.4f}" for column in columns))
    console.print(table)
