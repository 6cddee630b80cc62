"""Each part killed, each service hung: seen, healed, told and over, on a running stack."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from services.ctl.supervisor.asking import ask
from services.kit.postgres.db import TRANSIENT
from tests.support.eventually import eventually
from tests.support.folders import server_folder
from tests.support.stack import Stack

pytestmark = [pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="module")]

DETECTED_SECONDS = 15.0
OVER_SECONDS = 90.0
_NOT_OF_THE_MARKET = """
alert_type not in ('NoTrades', 'ModelDrift')
and not (alert_type = 'ServiceDegraded' and message like '%excluded: %')
"""
"""The generated market may drift from what the models know at any time: no fault of a process."""
_OPEN = f"""
select array(select alert_type || ' ' || component || ': ' || message
from analytics.alerts where not resolved and {_NOT_OF_THE_MARKET}) as open
"""  # noqa: S608 - our own words
_RAISED = f"""
select * from analytics.alerts where created_at >= to_timestamp($1)
and component = any($2::text[]) and {_NOT_OF_THE_MARKET} order by created_at
"""  # noqa: S608 - our own words


@dataclass(frozen=True, slots=True)
class Fault:
    """One process and what happens to it."""

    victim: str
    signal: signal.Signals
    about: tuple[str, ...]
    """Components of the alerts that may tell of it."""


def hung(victim: str, *about: str) -> Fault:
    return Fault(victim, signal.SIGSTOP, (victim, *about))


def killed(victim: str, *about: str) -> Fault:
    return Fault(victim, signal.SIGKILL, (victim, *about))


FAULTS = (
    hung("ai-1", "ai-service"),
    hung("exec_risk", "exec-risk-service"),
    hung("analytics", "analytics-os-service"),
    hung("gateway"),
    hung("nats", "jetstream"),
    hung("postgres"),
    hung("venue", "exchange", "exec-risk-service"),
    killed("postgres"),
    killed("nats", "jetstream"),
    killed("gateway"),
    killed("venue", "exchange"),
    killed("exec_risk", "exec-risk-service"),
    killed("ai-2", "ai-service"),
    killed("analytics", "analytics-os-service"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    with server_folder() as root, Stack(root, speed=5).running() as stack:
        yield stack


async def rows(stack: Stack, statement: str, *values: Any) -> list[asyncpg.Record]:
    """Ask the database; nothing while it is away."""
    try:
        async with asyncio.timeout(5), stack.database() as connection:
            found: list[asyncpg.Record] = await connection.fetch(statement, *values)
            return found
    except TRANSIENT:
        return []


async def quiet(stack: Stack) -> bool:
    """Whether every process is ready and no alert is open."""
    told = await ask(stack.home, "GET", "/status")
    if {row["state"] for row in told["processes"]} != {"ready"}:
        return False
    return await unresolved(stack) == []


async def unresolved(stack: Stack) -> list[str] | None:
    """What is told and not over; None while the database is away."""
    found = await rows(stack, _OPEN)
    return list(found[0]["open"]) if found else None


async def raised(stack: Stack, fault: Fault, since: float) -> list[asyncpg.Record]:
    return await rows(stack, _RAISED, since, list(fault.about))


@pytest.mark.drill
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.victim}-{f.signal.name}")
async def test_a_fault_is_seen_healed_told_and_over(stack: Stack, fault: Fault) -> None:
    """Incidents 60, 108, 110: what hangs or dies is noticed within 15 s and comes back."""
    await eventually(lambda: quiet(stack), OVER_SECONDS, 0.5)
    begun, pid = time.time(), stack.pid(fault.victim)
    stack.kill(fault.victim, fault.signal)

    async def replaced() -> bool:
        return stack.pids().get(fault.victim, pid) != pid

    await eventually(replaced, DETECTED_SECONDS + 5, 0.1)
    seen_after = time.time() - begun
    assert seen_after <= DETECTED_SECONDS, f"{fault.victim} was replaced after {seen_after:.1f} s"

    async def told() -> bool:
        return bool(await raised(stack, fault, begun))

    try:
        await eventually(told, OVER_SECONDS, 0.3)
        await eventually(lambda: quiet(stack), OVER_SECONDS, 0.5)
    except AssertionError as error:
        text = f"after {fault}: {error}; open: {await unresolved(stack)}"
        raise AssertionError(f"{text}{stack.tails()}") from None
    found = await raised(stack, fault, begun)
    assert all(row["resolved"] for row in found)
    healed = await rows(
        stack,
        "select * from analytics.recoveries where instance = $1 and done and done_at >="
        " to_timestamp($2)",
        fault.victim,
        begun,
    )
    assert healed, f"the supervisor told of no restart of {fault.victim}"

    async def facts() -> bool:
        """The ledger has them a moment after they are true."""
        told = await rows(
            stack,
            "select data from analytics.events where type = 'system.alert' and data ->> 'alert_id'"
            " = any($1::text[])",
            [row["alert_id"] for row in found],
        )
        return len(told) == 2 * len(found)

    await eventually(facts, DETECTED_SECONDS)  # each when it is raised and when it is over
