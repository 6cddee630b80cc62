"""Learning in the running system: a regime change leads to a new model, without a person."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from services.venue.markets.market import HISTORY
from tests.support import regime_market
from tests.support.eventually import eventually
from tests.support.folders import server_folder
from tests.support.stack import Stack

pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(1800),
    pytest.mark.asyncio(loop_scope="module"),
]

CALM, WILD = 240, 6000
DEADLINE = 900
SETTINGS = {
    "TRAINER": "true",
    "CLM_ENABLED": "true",
    "CLM_INTERVAL": "0.5",
    "CLM_BUCKET_MINUTES": "15",
    "CLM_WINDOW_HOURS": "1",
    "CLM_USUAL_WINDOWS": "2",
    "CLM_SHADOW_HOURS": "1",
    "CLM_WATCH_HOURS": "1",
    "CLM_PAUSE_HOURS": "0.25",
    "CLM_MIN_SAMPLES": "60",
    "CLM_MAX_FAILURES": "20",
    "CLM_TRAINING_DAYS": "0.5",
    "CLM_TRAINING_EVERY": "2",
    "CLM_TRAINING_FOLDS": "5",
    "CLM_TRAINING_ROUNDS": "40",
    "CLM_TREES_ONLY": "true",
    "TRAINER_NICE": "0",
}
STEPS = """
select data from analytics.events where type = 'learning.event' order by timestamp, sequence
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    """A system that learns, on a market that changes after some hours."""
    with server_folder() as root:
        regime_market.write(root / "market", calm=HISTORY + CALM, wild=WILD)
        stack = Stack(root / "home", market=str(root / "market"), speed=10, settings=SETTINGS)
        with stack.running():
            yield stack


async def loop(stack: Stack) -> list[dict[str, Any]]:
    """Every step of the loop so far."""
    async with stack.database() as connection:
        rows = await connection.fetch(STEPS)
    found = [json.loads(row["data"]) for row in rows]
    return [{**f, "step": f["event_type"].removeprefix("LEARNING_EVENT_TYPE_")} for f in found]


async def told_when_not(
    stack: Stack, check: Callable[[], Awaitable[bool]], deadline: float
) -> None:
    """Wait for a check; when it fails, the steps so far and the ends of all logs are told."""
    try:
        await eventually(check, deadline=deadline, interval=0.5)
    except AssertionError as error:
        told = [(f["step"], f.get("reasons")) for f in await loop(stack)][-12:]
        raise AssertionError(f"{error}: {told}{stack.tails()}") from None


async def test_a_regime_change_leads_to_a_promoted_model_without_a_person(stack: Stack) -> None:
    """Incident 105: drift, a real training, the shadow, the promotion; every replica follows."""

    async def promoted() -> bool:
        found = [f["step"] for f in await loop(stack)]
        return "MODEL_UPDATED" in found

    await told_when_not(stack, promoted, DEADLINE)
    found = await loop(stack)
    names = [f["step"] for f in found]
    end = names.index("MODEL_UPDATED") + 1
    assert names[end - 5 : end] == [
        "RETRAINING_REQUESTED",
        "RETRAINING_STARTED",
        "RETRAINING_COMPLETED",
        "MODEL_SHADOWED",
        "MODEL_UPDATED",
    ], names
    # the market moved, or results fell so far that nothing else was waited for
    asked = " ".join(found[end - 5]["reasons"])
    assert "PSI" in asked or "urgent" in asked, asked
    made = found[end - 1]["model_version_after"]

    async def answers() -> bool:
        async with stack.database() as connection:
            return bool(
                await connection.fetchval(
                    "select count(*) from analytics.prediction_counts where model_version = $1",
                    made,
                )
            )

    await told_when_not(stack, answers, 120)
    async with stack.database() as connection:
        rows = await connection.fetch(
            "select data from analytics.events where type = 'model.promoted' order by timestamp"
        )
    places = [json.loads(row["data"]) for row in rows]
    assert {p["pointer"]["changed_by"] for p in places} == {"clm"}
    assert made in [p["pointer"]["version"] for p in places if p["stage"] == "STAGE_ACTIVE"]
    shown = stack.json("models", "list")
    assert made in json.dumps(shown)
