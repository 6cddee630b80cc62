"""`qt simulate`: the command; the work is in `run`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from services.lab.simulation.faults import KINDS, Fault
from services.lab.simulation.invariants import INVARIANTS
from services.lab.simulation.market import LARGEST
from services.lab.simulation.plan import Outcome, RunPlan
from services.lab.simulation.story import Line
from services.trade.times import to_datetime

_STORY_LINES = 45


def simulate(
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds to run.")] = 100,
    hours: Annotated[float, typer.Option(min=1.5, help="Market hours of each.")] = 24.0,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Only this one, and tell its story.")] = None,
    symbols: Annotated[int, typer.Option(min=1, max=LARGEST, help="Symbols traded.")] = 3,
    timeframe: Annotated[str, typer.Option(help="Length of a candle.")] = "15m",
    off: Annotated[
        list[Fault] | None, typer.Option(help="A kind of fault to leave out; may be repeated.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    shorten: Annotated[bool, typer.Option(help="Look for the shortest failing story.")] = True,
    go_on: Annotated[
        bool, typer.Option("--go-on", help="Run all seeds and list those that fail.")
    ] = False,
) -> None:
    """Run the real core and shell of exec_risk under seeded faults, and check what must hold.

    Example: qt simulate --seeds 2000 --hours 24
    """
    console = Console()
    plan = RunPlan(seed or 0, hours, symbols, timeframe, frozenset(off or ()))
    if seed is not None:
        _tell_one(console, plan)
        return
    _run_all(
        console, plan, range(first_seed, first_seed + seeds), workers, shorten=shorten, go_on=go_on
    )


def _tell_one(console: Console, plan: RunPlan) -> None:
    from services.lab.simulation.run import simulate as run

    outcome = run(plan, keep_lines=1_000_000)
    _show_story(console, outcome.lines, f"seed {plan.seed}")
    _show_counts(console, outcome.counts, 1)
    console.print(f"story {outcome.digest}, {len(outcome.lines)} lines")
    if outcome.failure is not None:
        _show_failure(console, outcome)
        raise typer.Exit(1)


def _run_all(
    console: Console, plan: RunPlan, seeds: range, workers: int, *, shorten: bool, go_on: bool
) -> None:
    from services.lab.simulation.run import simulate_many

    totals: Counter[str] = Counter()
    failed: list[Outcome] = []
    done, began = 0, time.monotonic()
    with _bars(console) as bars:
        task = bars.add_task("seeds", total=len(seeds), totals="")
        for outcome in simulate_many(plan, seeds, workers):
            done += 1
            totals.update(outcome.counts)
            rate = done / max(time.monotonic() - began, 1e-9)
            bars.update(task, advance=1, totals=f"{rate:.1f}/s  {_running(totals)}")
            if outcome.failure is not None:
                failed.append(outcome)
                bars.update(task, description=f"{len(failed)} failed of")
                if not go_on:
                    break
        if failed and shorten and not go_on:
            bars.update(task, description="shrinking")
            failed = [_shortest(failed[0], lambda text: bars.update(task, totals=text))]
    seconds = time.monotonic() - began
    _show_counts(console, totals, done)
    if not failed:
        hours = f"{done} seeds of {plan.hours:g} hours"
        console.print(f"{hours} in {seconds:.0f} s: every invariant held.")
        return
    if go_on:
        _show_failed(console, failed)
    else:
        _show_failure(console, failed[0])
    raise typer.Exit(1)


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[totals]}"),
        console=console,
    )


def _shortest(outcome: Outcome, progress: Callable[[str], None]) -> Outcome:
    from services.lab.simulation.run import simulate as run
    from services.lab.simulation.shrink import shrink

    return shrink(outcome, lambda plan: run(plan), progress=progress)


def _show_failed(console: Console, failed: list[Outcome]) -> None:
    table = Table("seed", "does not hold", "what", title=f"{len(failed)} failed")
    table.title_justify = "left"
    for outcome in sorted(failed, key=lambda o: o.plan.seed):
        if outcome.failure is not None:
            found = outcome.failure
            table.add_row(str(outcome.plan.seed), found.name, escape(found.detail))
    console.print(table)


def _running(totals: Counter[str]) -> str:
    faults = sum(totals[kind] for kind in KINDS)
    return (
        f"{totals['rounds']} rounds, {totals['orders']} orders, {totals['fills']} fills,"
        f" {totals['crashes']} crashes, {faults} faults"
    )


def _show_counts(console: Console, totals: Counter[str], seeds: int) -> None:
    kinds = {str(kind) for kind in KINDS}
    table = Table("what was exercised", "times", title=f"{seeds} seeds", title_justify="left")
    for name in sorted((n for n in totals if n not in kinds), key=str):
        table.add_row(str(name), str(totals[name]))
    faults = Table("fault", "times")
    for kind in KINDS:
        style = "" if totals[kind] else "yellow"
        faults.add_row(str(kind), str(totals[kind]), style=style)
    console.print(table)
    console.print(faults)


def _show_failure(console: Console, outcome: Outcome) -> None:
    failure, plan = outcome.failure, outcome.plan
    if failure is None:
        return
    _show_story(console, outcome.lines[-_STORY_LINES:], "the last that happened")
    moment = to_datetime(failure.market)
    console.print(f"[red]{INVARIANTS[failure.name]}[/red]  ({failure.name})")
    console.print(f"seed {plan.seed}, {failure.wall:.3f} s after the start, market {moment}:")
    console.print(failure.detail, markup=False)
    parts = [f"qt simulate --seed {plan.seed} --hours {plan.hours:g}"]
    parts += [f"--symbols {plan.symbols} --timeframe {plan.timeframe}"]
    parts += [f"--off {kind}" for kind in sorted(plan.off)]
    console.print("again: " + " ".join(parts), soft_wrap=True, markup=False)


def _show_story(console: Console, lines: tuple[Line, ...], title: str) -> None:
    table = Table("s", "market", "who", "what", title=title, title_justify="left")
    for line in lines:
        market = to_datetime(line.market).strftime("%H:%M:%S")
        table.add_row(f"{line.wall:.3f}", market, line.who, line.text)
    console.print(table)
