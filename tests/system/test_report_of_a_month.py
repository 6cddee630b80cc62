"""A month of the market through the whole system: the report is the venue's account history."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

import pytest

from tests.support import account_history
from tests.support.folders import server_folder
from tests.support.stack import Stack

DAYS = float(os.environ.get("REPORT_DAYS", "30"))
SECONDS = float(os.environ.get("REPORT_SECONDS", "3000"))
_SETTINGS = {"RISK_PER_TRADE": "0.0005", "MAX_POSITION_SIZE_USD": "500"}
"""Small positions: a month without an edge costs less than the drawdown that ends trading."""
_SPAN = """
select max(timestamp) - min(timestamp) from analytics.events where type = 'round.decided'
"""


@pytest.mark.drill
@pytest.mark.timeout(3600)
async def test_the_report_of_a_month_is_the_venues_account_history() -> None:
    """Incidents 84, 85, 93: equal to the cent over REPORT_DAYS days of market time."""
    with server_folder() as root, Stack(root, settings=_SETTINGS).running() as stack:
        end = time.monotonic() + SECONDS
        while (traded := await _traded(stack)) < timedelta(days=DAYS):
            assert time.monotonic() < end, f"only {traded} of the market in {SECONDS} s"
            await asyncio.sleep(5)
        report = await account_history.assert_report_equals_venue(stack)
        assert len(report["by_day"]) >= DAYS - 1
        assert report["checks_made"] >= DAYS
        assert report["measures"]["days"] >= DAYS - 1


async def _traded(stack: Stack) -> timedelta:
    async with stack.database() as connection:
        found: timedelta | None = await connection.fetchval(_SPAN)
    return found or timedelta(0)
