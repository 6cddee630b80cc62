"""Runs many seeds on several processes."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing import get_context

from services.kit.observe.logs import silence
from services.lab.simulation.plan import Outcome, RunPlan
from services.lab.simulation.world import World

_WAITING = 8
"""Seeds that wait for each worker."""


def simulate(plan: RunPlan, *, keep_lines: int = 400) -> Outcome:
    """Run one seed; nothing is logged."""
    silence()
    return World(plan, keep_lines=keep_lines).run()


def simulate_many(plan: RunPlan, seeds: Iterable[int], workers: int) -> Iterator[Outcome]:
    """Yield the outcomes of the seeds as they come; what passed comes without its story."""
    plans = (replace(plan, seed=seed) for seed in seeds)
    if workers == 1:
        for one in plans:
            yield _told(one)
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_collect_by_hand
    ) as pool:
        under_way: set[Future[Outcome]] = set()
        try:
            for one in plans:
                under_way.add(pool.submit(_worked, one))
                if len(under_way) >= workers * _WAITING:
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while under_way:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            for future in under_way:
                future.cancel()


def _collect_by_hand() -> None:
    """A run's objects die with it: looking for them meanwhile costs time and finds little."""
    gc.freeze()
    gc.disable()


def _worked(plan: RunPlan) -> Outcome:
    outcome = _told(plan)
    gc.collect()
    return outcome


def _told(plan: RunPlan) -> Outcome:
    outcome = simulate(plan)
    if outcome.failure is None:
        outcome.lines = ()
    return outcome
