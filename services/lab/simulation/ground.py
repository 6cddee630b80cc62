"""What every part of a run stands on, and where an invariant that does not hold ends it."""

from __future__ import annotations

from services.lab.simulation.faults import Faults
from services.lab.simulation.invariants import Broken
from services.lab.simulation.market import SimulatedMarket
from services.lab.simulation.network import Network
from services.lab.simulation.plan import RunPlan
from services.lab.simulation.rows import Rows
from services.lab.simulation.script import Script
from services.lab.simulation.story import Story
from services.lab.simulation.venue import Venue
from services.lab.simulation.virtual_loop import new_loop


class Ground:
    """Loop, weather, network, market, venue, rows, script and story of one run."""

    def __init__(self, plan: RunPlan, *, keep_lines: int) -> None:
        self.plan = plan
        self.policy = plan.policy()
        self.loop = new_loop()
        self.faults = Faults(plan.seed, plan.off)
        self.counts = self.faults.counts
        self.story = Story(keep_lines)
        self.network = Network(self.loop, self.faults.dice)
        self.market = SimulatedMarket(self.faults, plan.symbols, plan.timeframe)
        self.venue = Venue(self.market, plan.seed, self.policy.account)
        self.rows = Rows()
        self.script = Script(plan.seed, self.market.symbols)

    def tell(self, who: str, text: str) -> None:
        """Add a line to the story."""
        self.story.tell(self.loop.time(), self.venue.time, who, text)

    def must(self, name: str, problem: str | None) -> None:
        """Go on when nothing is wrong."""
        if problem is not None:
            self.broken(name, problem)

    def broken(self, name: str, detail: str) -> None:
        """End the run: an invariant does not hold."""
        self.tell("BROKEN", f"{name}: {detail}")
        if self.loop.broken is None:
            self.loop.broken = Broken(name, detail)
