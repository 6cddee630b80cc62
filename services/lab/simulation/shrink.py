"""From a failing run to the shortest one that still fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from services.lab.simulation.faults import KINDS
from services.lab.simulation.plan import Outcome, RunPlan

_HOURS = (1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 12.0, 16.0)

Run = Callable[[RunPlan], Outcome]


def shrink(failed: Outcome, run: Run, *, progress: Callable[[str], None]) -> Outcome:
    """Return the outcome of fewer hours, then of fewer kinds of faults, that fails the same way."""
    if failed.failure is None:
        return failed
    name = failed.failure.name
    best = failed

    def try_plan(plan: RunPlan, what: str) -> bool:
        nonlocal best
        progress(what)
        outcome = run(plan)
        if outcome.failure is not None and outcome.failure.name == name:
            best = outcome
            return True
        return False

    for hours in _HOURS:
        if hours >= failed.plan.hours:
            break
        if try_plan(replace(best.plan, hours=hours), f"{hours:g} hours"):
            break
    for kind in KINDS:
        without = replace(best.plan, off=best.plan.off | {kind})
        try_plan(without, f"without {kind}")
    return best
