"""`qt models train`: the command; the work is in `run`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn
from rich.table import Table

from services.lab.training import figures
from services.trade.times import from_datetime

if TYPE_CHECKING:
    from services.lab.training.plan import TrainingPlan

_FAR = "2100-01-01"
_FILE_WIDTH = 120
QUICK_FOLDER = "perp-1m-2025-05"
FUNDING_FILE = "funding_rates.csv.gz"


def train(
    data: Annotated[
        list[Path] | None, typer.Option(help="Candle file or folder; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets <version>/.")] = Path(
        ".quantum/models"
    ),
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Candles that are only measured on.")
    ] = None,
    funding: Annotated[
        Path | None, typer.Option(help="Settled funding rates; by default those beside the data.")
    ] = None,
    start: Annotated[str, typer.Option(help="First day to train on, UTC.")] = "1970-01-01",
    end: Annotated[str, typer.Option(help="Day before which training ends, UTC.")] = _FAR,
    every: Annotated[int, typer.Option(min=1, help="Take every n-th bar as a row.")] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="Boosting rounds.")] = 100,
    leaves: Annotated[int, typer.Option(min=2, help="Leaves of a LightGBM tree.")] = 15,
    epochs: Annotated[int, typer.Option(min=1, help="Passes of the networks.")] = 4,
    horizon: Annotated[int, typer.Option(min=1, help="Bars the move may take.")] = 15,
    barrier: Annotated[float, typer.Option(min=0, help="Barrier in ATR, if above costs.")] = 2.0,
    folds: Annotated[int, typer.Option(min=1, help="Steps of the walk forward.")] = 5,
    seed: Annotated[int, typer.Option(help="Same seed, same artifact.")] = 7,
    trees_only: Annotated[bool, typer.Option(help="Leave the two networks out.")] = False,
    quick: Annotated[
        bool, typer.Option(help="Few rows, folds and passes: minutes, on the recorded month.")
    ] = False,
    kept: Annotated[
        Path, typer.Option(help="Where finished fits are kept, to go on after a stop.")
    ] = Path(".quantum/training"),
    activate: Annotated[bool, typer.Option(help="Make services load it.")] = False,
) -> None:
    """Train the four models on recorded candles and write a verified artifact with its report.

    The networks need the extra `deep`; without it only the trees are trained, and it says so.

    Example: qt models train --quick
    """
    # OpenMP threads that spin ruin a busy machine; it must be set before the libraries load.
    for name, value in _ONE_THREAD.items():
        os.environ.setdefault(name, value)
    from services.lab.training import data as candles
    from services.lab.training import run
    from services.lab.training.boosters import BoosterPlan
    from services.lab.training.members import NETWORKS, TREES, MemberPlan, NetPlan, have_torch
    from services.lab.training.plan import TrainingPlan
    from services.lab.training.trades import read_funding
    from services.trade.barrier_label import LabelRule

    console = Console()
    if not console.is_terminal:  # nothing is cut off in a file
        console.width = max(console.width, _FILE_WIDTH)
    if quick:
        every, folds, rounds, epochs = max(every, 30), min(folds, 3), min(rounds, 60), 2
    if not trees_only and not have_torch():
        trees_only = True
        console.print(
            "torch is not installed (`pip install '.\\[deep]'`): the networks are left out.",
            style="yellow",
        )
    plan = TrainingPlan(
        every=every,
        folds=folds,
        label=LabelRule(horizon=horizon, atr_multiple=barrier),
        members=MemberPlan(
            models=TREES if trees_only else TREES + NETWORKS,
            boosters=BoosterPlan(rounds=rounds, leaves=leaves, seed=seed),
            networks=NetPlan(epochs=epochs, seed=seed),
        ),
    )
    paths = data or [_recorded() / QUICK_FOLDER]
    try:
        first, last = _day(start), _day(end)
        series = [
            candles.between(candles.read_series(file), first, last)
            for path in paths
            for file in candles.candle_files(path)
        ]
        unseen = [
            candles.read_series(file)
            for path in held_out or []
            for file in candles.candle_files(path)
        ]
        rates = funding or _recorded() / FUNDING_FILE
        material = run.Material(
            series, unseen, read_funding(rates) if funding or rates.is_file() else {}
        )
        command = _command(paths, held_out, plan, start, end)
        with _Bars(console) as bars:
            trained = run.train_artifact(material, plan, command, bars.report, kept)
    except (ValueError, OSError) as error:
        console.print(f"cannot train: {error}", style="red")
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on where it was", style="yellow")
        raise typer.Exit(130) from None
    folder = run.save(trained, out)
    if activate:
        (out / "ACTIVE").write_text(f"{trained.manifest['version']}\n", encoding="utf-8")
    _show(console, trained.manifest, trained.verdicts)
    console.print(f"wrote {folder} ({trained.manifest['bytes'] / 1e6:.2f} MB), with report.html")


_ONE_THREAD = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _recorded() -> Path:
    return Path(os.environ.get("QUANTUM_DATA", "../shared/data"))


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


def _command(
    data: list[Path], held_out: list[Path] | None, plan: TrainingPlan, start: str, end: str
) -> str:
    """Return the command that makes the same again; recorded data is named by its folder."""
    boosters, networks = plan.members.boosters, plan.members.networks
    parts = ["qt models train"]
    parts += [f"--data {_named(path)}" for path in data]
    parts += [f"--held-out {_named(path)}" for path in held_out or []]
    parts += [f"--start {start} --end {end}"] if (start, end) != ("1970-01-01", _FAR) else []
    parts += [f"--every {plan.every} --folds {plan.folds} --rounds {boosters.rounds}"]
    parts += [f"--leaves {boosters.leaves} --epochs {networks.epochs}"]
    parts += [f"--horizon {plan.label.horizon} --barrier {plan.label.atr_multiple:g}"]
    parts += [f"--seed {boosters.seed}"]
    return " ".join(parts)


def _named(path: Path) -> str:
    root = _recorded().resolve()
    inside = path.resolve().is_relative_to(root)
    return f"$QUANTUM_DATA/{path.resolve().relative_to(root)}" if inside else path.name


def _show(console: Console, manifest: dict[str, Any], verdicts: Mapping[str, list[str]]) -> None:
    metrics = manifest["metrics"]
    balance = ", ".join(f"{n} {s:.1%}" for n, s in manifest["training"]["class_balance"].items())
    console.print(f"classes: {balance}")
    _table(console, f"{manifest['version']}: walk forward", metrics["walk_forward"])
    _table(console, "walk forward: trades at the gate", metrics["walk_forward_trades"])
    _table(console, "log-loss by fold", _across(metrics["walk_forward_by_fold"]))
    unseen = metrics["held_out"]
    if unseen:
        _table(console, f"held out: {len(unseen['symbols'])} symbols", unseen["scores"])
        _table(console, "held out: trades at the gate", unseen["trades"])
        _table(console, "held out: log-loss by symbol", unseen["by_symbol"])
    for title, sentences in verdicts.items():
        console.print(f"{title}:", style="bold")
        for sentence in sentences:
            console.print(f"- {sentence}")


def _table(console: Console, title: str, scores: dict[str, dict[str, float]]) -> None:
    columns = list(next(iter(scores.values())))
    table = Table("", title=title)
    for column in columns:
        table.add_column(figures.title(column), justify="right")
    for name, found in scores.items():
        told = [figures.figure(column, found) for column in columns]
        table.add_row(figures.title(name), *told)
    console.print(table)


def _across(tables: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return a table with its rows as columns: few groups of many predictors fit a terminal."""
    names = next(iter(tables.values()))
    return {name: {group: row[name] for group, row in tables.items()} for name in names}
