"""The fund's policy in the running system: every mode and directive, and the next order's fate."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio

from services.ctl import tokens
from tests.support.eventually import eventually
from tests.support.folders import server_folder
from tests.support.stack import Stack

pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(1800),
    pytest.mark.asyncio(loop_scope="module"),
]

SETTINGS = {
    "HFOS_ENABLED": "true",
    "PBA_ENABLED": "true",
    "PAL_ENABLED": "true",
    # what the generated market does within minutes
    "HFOS_SAFE_DRAWDOWN_PERCENT": "0.02",
    "HFOS_CRITICAL_DRAWDOWN_PERCENT": "0.1",
    "HFOS_RELAX_MINUTES": "3",
    "HFOS_DRAWDOWN_HOURS": "1",
    "MAX_ORDERS_PER_MINUTE": "20",
    "SIGNAL_SHARE": "0.2",
}
DECIDED = """
select data ->> 'rule' as rule, (data ->> 'approved')::boolean as approved,
    data ->> 'symbol' as symbol, coalesce((data ->> 'leverage')::int, 0) as leverage, timestamp
from analytics.events where type = 'risk.decided' and timestamp >= $1
order by timestamp, event_id
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    """A system whose fund layers all run."""
    with server_folder() as root, Stack(root, settings=SETTINGS).running() as stack:
        yield stack


async def versions(stack: Stack) -> list[Any]:
    """Every version of the policy, the oldest first."""
    return await stack.rows("select * from analytics.policy_versions order by version")


async def decided_after(stack: Stack, *changes: str, until: str) -> list[Any]:
    """Change the policy and return what the rules said under it until a rule has spoken."""
    told = stack.json("policy", "set", *changes, "--reason=test")
    number = told["policy"]["version"]
    found: list[Any] = []

    async def spoken() -> bool:
        held = await stack.rows(
            "select effective_from from analytics.policy_versions where version = $1",
            number,
        )
        found[:] = await stack.rows(DECIDED, held[0]["effective_from"])
        return any(r["rule"] == until for r in found)

    await eventually(spoken, deadline=90, interval=0.3)
    read = await stack.rows("select version from fund_policies where version = $1", number)
    assert read, "exec_risk keeps the version that it decides by"
    return found


async def approved_since(stack: Stack, number: int) -> None:
    """Wait until an entry is made under a version: what was refused before is over."""

    async def approved() -> bool:
        held = await stack.rows(
            "select effective_from from analytics.policy_versions where version = $1",
            number,
        )
        found = await stack.rows(DECIDED, held[0]["effective_from"])
        return any(r["approved"] for r in found)

    await eventually(approved, deadline=90, interval=0.3)


async def the_fund_changes_its_mode_and_the_account_follows(stack: Stack) -> None:
    """Incident 120: HFOS goes to CRITICAL and back through every mode, and each is enforced."""

    async def through() -> bool:
        seen = [(v["updated_by"], v["fund_mode"]) for v in await versions(stack)]
        modes = [mode for by, mode in seen if by == "HFOS"]
        return {"SAFE", "CRITICAL"} <= set(modes) and "NORMAL" in modes

    await eventually(through, deadline=240, interval=0.5)
    found = await versions(stack)
    decided = await stack.rows(DECIDED, found[0]["effective_from"])
    for version, following in pairwise(found):
        begin, end = version["effective_from"], following["effective_from"]
        during = [r for r in decided if begin <= r["timestamp"] < end]
        entered = [r for r in during if r["approved"] and r["rule"] == "approved"]
        policy = json.loads(version["policy"])
        if version["fund_mode"] == "CRITICAL":
            assert not entered
        assert all(r["leverage"] <= policy["max_leverage"] for r in entered)
    assert [v["version"] for v in found] == list(range(1, len(found) + 1))


async def directives_are_carried_out_once_and_only_reduce(stack: Stack) -> None:
    """Each issued one is answered once; its orders have the purpose of its action."""

    async def answered() -> bool:
        return bool(await stack.rows("select 1 from directives_answered where result = 'APPLIED'"))

    await eventually(answered, deadline=120, interval=0.5)
    issued = await stack.rows(
        "select d.*, a.result, a.reason from analytics.directives d"
        " left join directives_answered a using (directive_id)"
        " where d.deadline < (select max(time) from analytics.portfolio)",
    )
    assert issued and all(d["result"] is not None for d in issued)
    orders = await stack.rows(
        "select o.*, d.share, d.action from orders o join analytics.directives d"
        " on o.signal_id = d.directive_id",
    )
    for order in orders:
        assert order["purpose"] == ("ENTRY" if order["action"] == "SCALE_IN" else "EXIT")
    told = await stack.rows("select data from analytics.events where type = 'directive.applied'")
    names = [json.loads(r["data"])["directive_id"] for r in told]
    assert len(names) == len(set(names))
    health = await stack.health("analytics")
    assert "DirectiveOverdue" not in [a["type"] for a in health["alerts"]]
    assert health["ai_hfos_enabled"] and health["pba_enabled"] and health["pal_enabled"]


async def what_an_operator_sets_decides_the_next_order(stack: Stack) -> None:
    """Incidents 72, 73, 121, 122: modes and limits by `qt policy`, each with its named rule."""
    quiet = "hfos_enabled=false"
    # with HFOS on, a mode that it holds for right would come back at once
    usual = stack.json(
        "policy", "set", quiet, "system_mode=NORMAL", "fund_mode=NORMAL", "--reason=test"
    )
    assert usual["updated_by"] == tokens.claims(tokens.read_token(stack.home))["sub"]
    base = str(usual["policy"]["version"])
    for change, rule in (
        ("system_mode=EMERGENCY", "system_mode"),
        ("system_mode=MAINTENANCE", "system_mode"),
        ("max_positions=0", "fund_positions"),
        ("max_orders_per_minute=0", "fund_orders_per_minute"),
        ("size_factor=0", "fund_size"),
    ):
        found = await decided_after(stack, change, until=rule)
        # the market goes on while a person's change is on its way
        first = next(n for n, r in enumerate(found) if r["rule"] == rule)
        assert not [r for r in found[first:] if r["rule"] == "approved"]
        back = stack.json("policy", "rollback", base, "--reason=test")["policy"]
        assert (back["max_positions"], back["size_factor"]) == (10, "1")
        await approved_since(stack, back["version"])
    found = await decided_after(stack, quiet, "fund_mode=AGGRESSIVE", until="approved")
    shown = stack.json("policy", "show")["policy"]
    assert (shown["size_factor"], shown["signal_share"]) == ("1.3", 0.4)
    found = await decided_after(stack, quiet, "blocked_symbols=BTCUSDT", until="fund_symbols")
    assert {r["symbol"] for r in found if r["rule"] == "fund_symbols"} == {"BTCUSDT"}
    modes = await stack.rows("select data from analytics.events where type = 'system.mode_changed'")
    told = [json.loads(r["data"]) for r in modes]
    assert told and all(m["previous_mode"] != m["new_mode"] for m in told)


async def a_person_asks_for_balance(stack: Stack) -> None:
    """The next round looks at the portfolio and tells why."""
    stack.json("policy", "rebalance", "--reason=after the deposit")

    async def balanced() -> bool:
        found = await stack.rows(
            "select data from analytics.events where type = 'portfolio.balance'"
        )
        return any("after the deposit" in json.loads(r["data"])["reasons"] for r in found)

    await eventually(balanced, deadline=60, interval=0.3)


async def test_every_mode_and_directive_decides_the_next_order(stack: Stack) -> None:
    """One story after another: the second needs what the first has left."""
    await the_fund_changes_its_mode_and_the_account_follows(stack)
    await directives_are_carried_out_once_and_only_reduce(stack)
    await what_an_operator_sets_decides_the_next_order(stack)
    await a_person_asks_for_balance(stack)
