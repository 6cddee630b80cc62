"""In lockstep, what is filled is a function of the market: crashes change nothing of it."""

from __future__ import annotations

import random

import pytest

from services.kit.observe.logs import silence
from services.lab.simulation.faults import KINDS
from services.lab.simulation.plan import Pace, RunPlan
from services.lab.simulation.world import World
from services.trade.order import Fill
from services.venue.core.steps import Step

HOURS = 8.0
SEEDS = range(0, 36, 3)


class CrashingWorld(World):
    """A leader dies at a random callback in most points; nothing else goes wrong."""

    def _move(self, step: Step) -> None:
        super()._move(step)
        dice = random.Random(f"{self.plan.seed}.{step.number}.crash")  # noqa: S311 - seeded
        leader = self.replicas.leader()
        if leader is None or self.faults.quiet or dice.random() > (0.6 if step.closed else 0.3):
            return
        name, restart = leader.name, dice.uniform(0.3, 2.0)
        self.loop.arm(leader.owner, dice.randint(1, 60), lambda: self.processes.kill(name, restart))


def filled(world: World) -> list[Fill]:
    """Run a world to its end and return the venue's fills."""
    silence()
    outcome = world.run()
    assert outcome.failure is None, outcome.failure
    return sorted(world.venue.fills, key=lambda f: (f.time, f.symbol, f.trade_id))


@pytest.mark.parametrize("seed", SEEDS)
def test_crashes_change_no_fill(seed: int) -> None:
    """Same ids, prices, quantities, commissions and market times, to the last digit."""
    plan = RunPlan(seed, HOURS, off=frozenset(KINDS))
    assert plan.pace is Pace.LOCKSTEP
    calm, crashing = World(plan), CrashingWorld(plan)
    expected, found = filled(calm), filled(crashing)
    assert crashing.ground.counts["crashes"] > 10
    assert len(expected) > 10
    assert found == expected
