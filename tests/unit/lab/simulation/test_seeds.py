"""The real core and shell of exec_risk under seeded faults: what must hold, holds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from services.lab.simulation.faults import KINDS, Fault
from services.lab.simulation.plan import Outcome, RunPlan
from services.lab.simulation.run import simulate
from services.lab.simulation.shrink import shrink

SEEDS, CHUNK, HOURS = 100, 10, 4.0
# what 100 short runs must have met, besides every kind of fault
EXERCISED = (
    "crashes", "take-overs", "fills", "cancels", "entries", "closed STOP_LOSS",
    "closed SIGNAL_EXIT", "closed UNPROTECTED", "closed MANUAL", "repair missed_fill",
    "repair adopted_position", "venue -2021", "venue -2022", "alert UNPROTECTED_POSITION",
    "rule trading_state", "rule stale_signal", "rule open_positions", "rule drain",
)  # fmt: skip
_met: Counter[str] = Counter()
_chunks: set[int] = set()


def show(outcome: Outcome) -> str:
    """Return what broke, and the last lines of the story."""
    lines = [f"{line.wall:9.3f} {line.who:8} {line.text}" for line in outcome.lines[-30:]]
    return "\n".join([f"seed {outcome.plan.seed}: {outcome.failure}", *lines])


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_invariant_holds(first: int) -> None:
    """Incidents 7, 12, 14, 15, 16, 22, 26, 27, 30, 46, 52, 53, 61, 71, 82, 85, 92."""
    for seed in range(first, first + CHUNK):
        outcome = simulate(RunPlan(seed, HOURS))
        assert outcome.failure is None, show(outcome)
        _met.update(outcome.counts)
    _chunks.add(first)
    if len(_chunks) == SEEDS // CHUNK:
        missing = [name for name in (*KINDS, *EXERCISED) if not _met[name]]
        assert not missing, f"100 seeds never met {missing}"


@pytest.mark.parametrize("seed", [0, 1, 2, 11])
def test_a_seed_tells_the_same_story_again(seed: int) -> None:
    assert simulate(RunPlan(seed, 3.0)).digest == simulate(RunPlan(seed, 3.0)).digest


def test_a_seed_tells_the_same_story_in_another_process() -> None:
    """Nothing rests on the order of a set or on an address."""
    code = (
        "from services.lab.simulation.run import simulate\n"
        "from services.lab.simulation.plan import RunPlan\n"
        "print(*(simulate(RunPlan(s, 3.0)).digest for s in (4, 5)))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for number in ("1", "2")
    }
    assert told == {" ".join(simulate(RunPlan(s, 3.0)).digest for s in (4, 5)) + "\n"}


def test_without_faults_nothing_is_missed_or_repaired() -> None:
    for seed in range(6):
        outcome = simulate(RunPlan(seed, 3.0, off=frozenset(KINDS)))
        assert outcome.failure is None, show(outcome)
        assert outcome.counts["fills"]
        assert not [name for name in outcome.counts if name.startswith("repair ")]
        assert not [kind for kind in KINDS if outcome.counts[kind]]


# Seeds that failed while this was built. Market, faults and rules have changed since, so each also
# has a test of its own where the defect was.
REGRESSIONS = {
    (1, 6.0): "a round that was decided late judged its signals by the round's time",
    (165, 6.0): "fills of one millisecond were applied by their ids as texts",
    (292, 6.0): "an entry filled on after its exit was sized, and the rest stayed naked",
    (357, 6.0): "a refused entry was sent again while the account was halted",
    (60, 6.0): "a fill that turned a position round belonged to one position only",
    (67, 6.0): "a stop one tick wider than meant was called absurd and the position closed",
    (19, 6.0): "an entry that closed a person's position was booked as its entry",
    (112, 6.0): "a fill between the first readings of a fresh account was never applied",
    (6, 24.0): "a fill older than an hour of market time was never read back",
    (107, 24.0): "a leader that was frozen took its sleep for an outage of the store",
    (177, 18.0): "an exit sent without a store was cancelled as nobody's, and its id used again",
    (205, 18.0): "a part of an entry was measured by a limit that a person had used up meanwhile",
    (266, 6.0): "the plan of an entry that waited over midnight was forgotten",
    (388, 10.0): "a leader that died just after its take-over had no grace of its own",
    (446, 12.0): "a store that went away while a term started left the gate of entries open",
    (17, 24.0): "what history had closed already was protected under ids that were used up",
    (527, 6.0): "an id that was sent without a store and has ended was used again",
    (29, 24.0): "a stop that no longer rested stood in at a start for the one that did",
    (152, 24.0): "two readings from before a fill put the wallet back to what it was",
    (350, 24.0): "a stop was cancelled while the next part of an iceberg filled",
    (544, 24.0): "a cancel without an answer came late, after other stops were cancelled for it",
    (2097, 9.0): "a leader that slept and woke without a store sent what its successor had ended",
    (3674, 24.0): "an entry that was withdrawn without a store was judged when it was written down",
    (4004, 12.0): "a stop was judged by the rows of a position whose close could not be written",
    (4180, 24.0): "a standby that was frozen before it could take over was waited for",
    (52, 24.0): "the end of a forgotten order announced a fill that was booked before it was found",
    (380, 24.0): "a fill explained a doubt, and what the torn reading showed beside it was booked",
    (4479, 3.0): "a new listener heard the point of now, and after it one that was before",
    (5361, 24.0): "a reading for an operator was under way when the user stream came up",
    (7523, 24.0): "an entry did not wait for an order that was nobody's and still rested",
    (7906, 24.0): "the largest stop closed its part while an entry filled, and no other was left",
    (1111, 6.0): "what waited during a freeze was decided before the gates were looked at",
}

OTHER_CANDLES = {
    RunPlan(50049, 72.0, 2, "1h"): "fills were forgotten that the next reading told again",
    RunPlan(
        40172, 12.0, 4, "5m"
    ): "what was decided before a freeze was judged when it was written",
}


@pytest.mark.parametrize(("seed", "hours"), REGRESSIONS, ids=map(str, REGRESSIONS))
def test_a_seed_that_failed_holds(seed: int, hours: float) -> None:
    outcome = simulate(RunPlan(seed, hours))
    assert outcome.failure is None, show(outcome)


@pytest.mark.parametrize("plan", OTHER_CANDLES, ids=str)
def test_a_seed_of_other_candles_that_failed_holds(plan: RunPlan) -> None:
    outcome = simulate(plan)
    assert outcome.failure is None, show(outcome)


@pytest.mark.parametrize(("hours", "symbols", "timeframe"), [(72.0, 2, "1h"), (4.0, 4, "5m")])
def test_every_invariant_holds_with_other_candles(
    hours: float, symbols: int, timeframe: str
) -> None:
    for seed in range(200, 215):
        outcome = simulate(RunPlan(seed, hours, symbols, timeframe))
        assert outcome.failure is None, show(outcome)


def test_a_failing_run_is_shrunk_to_what_it_needs() -> None:
    from services.lab.simulation.plan import Failure

    def fails(plan: RunPlan) -> Outcome:
        broken = plan.hours >= 3 and Fault.LOST_REPLY not in plan.off
        failure = Failure("settled", "", 1.0, 1) if broken else None
        return Outcome(plan, failure=failure)

    shortest = shrink(fails(RunPlan(7, 24.0)), fails, progress=lambda _: None)
    assert shortest.failure is not None
    assert shortest.plan.hours == 3.0
    assert shortest.plan.off == frozenset(KINDS) - {Fault.LOST_REPLY}
