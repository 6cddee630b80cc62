"""SIGKILL at every step of the executor's protocol, and a leader frozen between commit and send."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.exec_risk.faults.fault_points import STEPS
from services.exec_risk.settings import Settings
from tests.support.advice import batch_of
from tests.support.drill_desk import DrillDesk, drill_desk
from tests.support.eventually import eventually

SHORT = ("after_commit", "before_place", "after_place", "after_cancel")
EACH_SECONDS = 60
FOREIGN_LEVERAGE = 3
NEVER_TIRED = {
    "MAX_HOLDING_MINUTES": "5",
    "RECONCILE_SECONDS": "1",
    "MAX_SYMBOL_LOSSES": "100000",
    "CAUTIOUS_LOSSES_IN_A_ROW": "100000",
    "EMERGENCY_LOSSES_IN_A_ROW": "100000",
    "MAX_TRADES_PER_DAY": "100000",
    "MAX_ORDERS_PER_MINUTE": "1000",
    "MAX_EXECUTION_ERRORS": "100000",
    "MAX_DAILY_DRAWDOWN_PERCENT": "100",
    "EMERGENCY_STOP_THRESHOLD_PERCENT": "100",
    "CAUTIOUS_DRAWDOWN_PERCENT": "100",
    "DEFENSIVE_DRAWDOWN_PERCENT": "100",
    "KELLY_MIN_TRADES": "200",
    "KELLY_WINDOW": "200",
}
"""Advice by chance loses and replies are lost on purpose: no limit of risk may end the story."""


async def lead_to(desk: DrillDesk, step: str, number: int) -> None:
    """Have the venue and the account so that trading comes to the step."""
    if "find" in step:
        # replies to orders, and one answer to a question for an order
        await desk.fault("reply_drop", method="POST", path="order", times=4)
        await desk.fault("reply_drop", method="GET", path="order", times=1)
        return
    await desk.fault("reply_drop", path="order", times=1, skip=number % 3)
    if "leverage" in step:
        # confirmed once it is never set again: somebody moves it at the exchange's own page
        await desk.leverage_by_hand(FOREIGN_LEVERAGE)


async def killed_at(desk: DrillDesk, step: str, count: int) -> None:
    """Run a replica until it dies at the step."""
    replica = desk.start(f"at-{step}-{count}", EXEC_RISK_KILL_AT=f"{step}:{count}")
    code = await asyncio.wait_for(asyncio.to_thread(replica.process.wait), EACH_SECONDS)
    assert code == -signal.SIGKILL, f"{step}: ended with {code}"


async def assert_nothing_lost_or_doubled(desk: DrillDesk) -> None:
    """Each decision once, each id once, both books and every stop the same."""
    counts = Counter(await desk.taken())
    assert [c for c, n in counts.items() if n > 1] == []
    doubled = await desk.rows(
        "select signal_id from orders where purpose = 'ENTRY' and exchange_order_id <> ''"
        " group by signal_id having count(*) > 1"
    )
    assert doubled == []
    await desk.assert_same_books()


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(SHORT, id="short"),
        pytest.param(STEPS, id="all", marks=pytest.mark.drill),
    ],
)
@pytest.mark.timeout(1800)
async def test_sigkill_at_each_step(tmp_path: Path, steps: tuple[str, ...]) -> None:
    """Incidents 7, 12, 26, 27, 82: dies at the step while replies are lost; nothing is owed."""
    async with drill_desk(tmp_path, speed=8, pace="lockstep", **NEVER_TIRED) as desk:
        desk.advise(batch_of)
        for number, step in enumerate(steps):
            await desk.end_faults()
            await lead_to(desk, step, number)
            await killed_at(desk, step, 2 if "load" not in step else 1)
        desk.start()
        await desk.ready(name="exec-a")
        more = len(await desk.rows("select 1 from fills")) + 4

        async def trades_on() -> bool:
            seen = len(await desk.rows("select 1 from fills"))
            gate = await desk.rows("select blocked_by from leader_status")
            assert seen >= more, f"{seen} fills of {more}, entries blocked by {gate}"
            return True

        await desk.end_faults()
        await eventually(trades_on, 60, 0.2)
        desk.rest()
        await asyncio.sleep(3)
        await assert_nothing_lost_or_doubled(desk)


async def test_a_leader_frozen_between_commit_and_send(tmp_path: Path) -> None:
    """Two leaders forced at once: the old one sends when it wakes, and exactly one order stands."""
    async with drill_desk(tmp_path, speed=8, pace="lockstep", MAX_HOLDING_MINUTES="5") as desk:
        frozen = desk.start("frozen", EXEC_RISK_KILL_AT="before_place:1:STOP")
        await desk.ready(name="frozen")
        desk.start()
        await eventually(lambda: desk.replicas["exec-a"].logged('"serving"'), 30)
        desk.advise(batch_of)
        await desk.ready(40, name="exec-a")

        async def trades() -> bool:
            return len(await desk.rows("select 1 from fills")) >= 3

        await eventually(trades, 60, 0.2)
        frozen.send(signal.SIGCONT)
        await eventually(lambda: frozen.logged("term_ended"), 20)
        await asyncio.sleep(3)
        desk.rest()
        await asyncio.sleep(3)
        await assert_nothing_lost_or_doubled(desk)


def test_fault_points_are_for_paper_alone() -> None:
    """No setting can end a process that trades for real."""
    given: dict[str, Any] = {"binance_api_key": "k", "binance_api_secret": "s"}
    with pytest.raises(ValidationError, match="paper alone"):
        Settings(_env_file=None, exchange_venue="demo", exec_risk_kill_at="before_place:1", **given)
    with pytest.raises(ValidationError, match="is not step:count"):
        Settings(_env_file=None, exec_risk_kill_at="somewhere:1")
