"""HFOS allows more by itself: results earn the mode AGGRESSIVE in the running system."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from statistics import median
from typing import Any

import pytest
import pytest_asyncio

from services.venue.markets.market import HISTORY
from tests.support import wave_market
from tests.support.eventually import eventually
from tests.support.folders import server_folder
from tests.support.stack import Stack

pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
]

SETTINGS = {
    "HFOS_ENABLED": "true",
    # nothing but results is to decide
    "HFOS_SAFE_DRAWDOWN_PERCENT": "20",
    "HFOS_CRITICAL_DRAWDOWN_PERCENT": "40",
    "HFOS_RELAX_MINUTES": "3",
    "SIGNAL_SHARE": "0.2",
    "MAX_ORDERS_PER_MINUTE": "20",
    # a target within the wave, a stop beyond it, and sizes that no result changes
    "DYNAMIC_TPSL_ENABLED": "false",
    "STOP_LOSS_PERCENT": "4",
    "MIN_REWARD_RISK": "0.15",
    "PARTIAL_TAKE_PROFITS": "",
    "BREAK_EVEN_R": "0",
    "TRAILING_STOP_ENABLED": "false",
    "MAX_HOLDING_MINUTES": "40",
    "KELLY_MIN_TRADES": "200",
    "KELLY_WINDOW": "200",
    "VOLATILITY_TARGET_PERCENT": "20",
    "EMERGENCY_LOSSES_IN_A_ROW": "50",
    "CAUTIOUS_LOSSES_IN_A_ROW": "50",
}
ENTERED = 8
"""Entries in each mode that are compared."""
_ENTRIES = """
select (d.data ->> 'notional_usd')::numeric / s.confidence as size, d.timestamp
from analytics.events d
join analytics.signal_prices s on s.signal_id = d.data ->> 'signal_id'
where d.type = 'risk.decided' and (d.data ->> 'approved')::boolean and d.timestamp >= $1
order by d.timestamp
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    """A system whose market gives nearly every trade a gain."""
    with server_folder() as root:
        wave_market.write(root / "market", candles=HISTORY + 6000)
        stack = Stack(root / "home", market=str(root / "market"), settings=SETTINGS)
        with stack.running():
            yield stack


async def versions(stack: Stack) -> list[Any]:
    """Every version of the policy, the oldest first."""
    return await stack.rows("select * from analytics.policy_versions order by version")


async def test_results_make_the_fund_aggressive_and_the_next_entries_larger(stack: Stack) -> None:
    """Incident 120: twenty trades with a profit: HFOS allows more, exec_risk takes more."""
    found: list[Any] = []

    async def allowed() -> bool:
        found[:] = await versions(stack)
        return any(
            (v["updated_by"], v["fund_mode"]) == ("HFOS", "AGGRESSIVE") for v in found
        ) and bool(await _after(stack, found))

    try:
        await eventually(allowed, deadline=400, interval=0.5)
    except AssertionError as error:
        seen = [(v["updated_by"], v["fund_mode"], v["reasons"]) for v in found]
        made = await stack.rows("select count(*), sum(net_pnl) from analytics.trades")
        raise AssertionError(f"{error}: {seen} {made}{stack.tails()}") from None
    modes = [v["fund_mode"] for v in found]
    changed = found[modes.index("AGGRESSIVE")]
    assert any("trades made" in reason for reason in changed["reasons"])
    normal, policy = (json.loads(v["policy"]) for v in (found[0], changed))
    assert float(policy["size_factor"]) == 1.3
    assert policy["signal_share"] == pytest.approx(2 * normal["signal_share"])
    kept = await stack.rows(
        "select version from fund_policies where version = $1", changed["version"]
    )
    assert kept, "exec_risk keeps the version that it decides by"
    since = changed["effective_from"]
    entries = await stack.rows(_ENTRIES, found[0]["effective_from"])
    before = [e["size"] for e in entries if e["timestamp"] < since]
    after = await _after(stack, found)
    grown = median(after) / median(before)
    # the account has grown a little too, and quantities are whole steps
    assert 1.25 < grown < 1.4, grown
    told = await stack.rows("select data from analytics.events where type = 'policy.updated'")
    assert any(json.loads(r["data"])["updated_by"] == "HFOS" for r in told)


async def _after(stack: Stack, found: list[Any]) -> list[float]:
    """Sizes, for their confidence, of the first entries of the aggressive fund; none too soon."""
    modes = [v["fund_mode"] for v in found]
    place = modes.index("AGGRESSIVE")
    later = found[place + 1]["effective_from"] if place + 1 < len(found) else None
    entries = await stack.rows(_ENTRIES, found[place]["effective_from"])
    sizes: list[float] = [e["size"] for e in entries if later is None or e["timestamp"] < later]
    return sizes if len(sizes) >= ENTERED else []
