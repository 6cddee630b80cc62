"""What the fund decides and what the account does: analytics, executor and venue as they run."""

from __future__ import annotations

from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
from quantum.analytics.v1 import analytics_service_pb2 as pb
from quantum.analytics.v1 import analytics_service_pb2_grpc as rpc
from quantum.analytics.v1 import policy_pb2

from services.analytics.policy.facts import fact
from services.catalog.events import DIRECTIVE_ISSUED
from services.ctl.servers.free import free_port
from services.kit.bus.bus import Bus
from services.trade.fund_policy import Directive, DirectiveAction, Layer
from services.trade.policy_codec import directive_to_pb
from services.trade.times import DAY_MS, from_datetime
from tests.support.drill_desk import BUY, DrillDesk, drill_desk
from tests.support.drill_ledger import analytics
from tests.support.eventually import eventually

BTC, ETH, SOL = "BTCUSDT", "ETHUSDT", "SOLUSDT"
SETTINGS = {
    "FUND_POLICY_REQUIRED": "true",
    "MAX_HOLDING_MINUTES": "600",
    # positions of many lots, and shares of the exposure that refuse nothing of what is added
    "COLD_START_SHARE": "1",
    "MAX_SYMBOL_SHARE_PERCENT": "100",
    "MAX_CLUSTER_SHARE_PERCENT": "100",
    "MAX_NET_EXPOSURE_PERCENT": "100",
}
DECIDED = """
select data ->> 'rule' as rule, (data ->> 'approved')::boolean as approved,
    data ->> 'size_usd' as size from analytics.events
where type = 'risk.decided' and data ->> 'symbol' = $1 and timestamp >= (
    select effective_from from analytics.policy_versions where version = $2)
order by timestamp, event_id
"""


async def issue(
    desk: DrillDesk, bus: Bus, symbol: str, action: DirectiveAction, layer: Layer, share: str
) -> str:
    """Tell the account what the fund asks of a position, twice as a bus may; return the answer."""
    (position,) = await desk.rows(
        "select * from positions where symbol = $1 and status = 'open'", symbol
    )
    opened = from_datetime(position["opened_at"])
    asked = Directive(
        directive_id=f"dir-{action.value.lower()}",
        account=desk.account,
        layer=layer,
        action=action,
        symbol=symbol,
        position_id=position["position_id"],
        share=Decimal(share),
        reasons=("a test",),
        decided_at=opened,
        effective_from=opened + 1,
        deadline=opened + DAY_MS,
    )
    for time in (1, 2):
        message = fact(
            DIRECTIVE_ISSUED, directive_to_pb(asked), desk.account, symbol, opened, time, action
        )
        await bus.publish_all([message])

    async def answered() -> str:
        rows = await desk.rows(
            "select * from directives_answered where directive_id = $1", asked.directive_id
        )
        return f"{rows[0]['result']} {rows[0]['reason']}".strip() if rows else ""

    return str(await eventually(answered, 20, 0.1))


async def holds(desk: DrillDesk, symbol: str, quantity: Decimal) -> None:
    """Wait until the venue holds so much; a lot more or less is rounding."""

    async def held() -> bool:
        found = (await desk.held()).get(symbol, Decimal(0))
        ended = await desk.rows("select exit_reason from positions where symbol = $1", symbol)
        told = f"{found}, not {quantity}: {ended}"
        assert abs(found - quantity) <= quantity * Decimal("0.02"), told
        return True

    await eventually(held, 20, 0.1)


async def every_directive_does_what_it_says(desk: DrillDesk, bus: Bus) -> None:
    """Each action once at the venue, by any layer; stops follow what is held."""
    begun = await desk.held()
    reduce, take, add = (
        DirectiveAction.REDUCE,
        DirectiveAction.PARTIAL_TAKE_PROFIT,
        DirectiveAction.SCALE_IN,
    )
    assert await issue(desk, bus, BTC, reduce, Layer.HFOS, "0.2") == "APPLIED"
    await holds(desk, BTC, begun[BTC] * Decimal("0.8"))
    assert await issue(desk, bus, ETH, take, Layer.PAL, "0.5") == "APPLIED"
    await holds(desk, ETH, begun[ETH] / 2)
    assert await issue(desk, bus, SOL, add, Layer.PAL, "0.5") == "APPLIED"
    await holds(desk, SOL, begun[SOL] * Decimal("1.5"))
    assert await issue(desk, bus, BTC, DirectiveAction.EXTEND_HOLD, Layer.PAL, "0.5") == "APPLIED"
    (row,) = await desk.rows(
        "select p.hold_until - o.opened_at as longer from protections p"
        " join positions o using (position_id) where o.symbol = $1 and o.status = 'open'",
        BTC,
    )
    assert row["longer"].total_seconds() == 900 * 60
    await desk.assert_same_books()


async def what_holds_decides_the_next_entry(desk: DrillDesk, stub: Any) -> None:
    """Incidents 120, 121, 122: a mode or limit decides the next signal, by its name, and ends."""
    change = policy_pb2.PolicyChange
    normal, usual = policy_pb2.FUND_MODE_NORMAL, policy_pb2.SYSTEM_MODE_NORMAL
    emergency = policy_pb2.SYSTEM_MODE_EMERGENCY
    desk.script.says = {ETH: BUY}
    for number, (wanted, rule) in enumerate(
        (
            (change(fund_mode=policy_pb2.FUND_MODE_CRITICAL), "fund_mode"),
            (change(fund_mode=normal, system_mode=emergency), "system_mode"),
            (change(system_mode=usual, max_positions=0), "fund_positions"),
            (change(max_positions=10, size_factor="0"), "fund_size"),
        )
    ):
        request = pb.UpdatePolicyRequest(change=wanted, reason="test", request_id=f"c-{number}")
        told = await stub.UpdatePolicy(request, timeout=10)

        async def refused(version: int = told.version.policy.version, rule: str = rule) -> bool:
            found = await desk.rows(DECIDED, ETH, version)
            assert not any(r["approved"] for r in found)
            return any(r["rule"] == rule for r in found)

        await eventually(refused, 20, 0.1)
    back = pb.UpdatePolicyRequest(rollback_to=1, reason="test", request_id="back")
    told = await stub.UpdatePolicy(back, timeout=10)

    async def entered() -> bool:
        found = await desk.rows(DECIDED, ETH, told.version.policy.version)
        assert any(r["approved"] for r in found), found
        return ETH in await desk.held()

    await eventually(entered, 20, 0.1)


async def test_directives_and_modes_decide_the_next_order(tmp_path: Path) -> None:
    """An exit is carried out in CRITICAL too, when nothing may be entered."""
    address = f"127.0.0.1:{free_port()}"
    async with AsyncExitStack() as stack:
        desk = await stack.enter_async_context(
            drill_desk(tmp_path, speed=60, pace="lockstep", **SETTINGS)
        )
        bus = await Bus.connect(desk.nats.url, "test")
        stack.push_async_callback(bus.close)
        await stack.enter_async_context(analytics(desk, GRPC_ADDRESS=address))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        stub: Any = rpc.AnalyticsServiceStub(channel)
        desk.start()
        await desk.ready()
        await desk.open(BTC, ETH, SOL)
        await every_directive_does_what_it_says(desk, bus)
        critical = policy_pb2.PolicyChange(fund_mode=policy_pb2.FUND_MODE_CRITICAL)
        request = pb.UpdatePolicyRequest(change=critical, reason="test", request_id="now")
        await stub.UpdatePolicy(request, timeout=10)
        assert await issue(desk, bus, ETH, DirectiveAction.CLOSE, Layer.PBA, "1") == "APPLIED"
        await holds(desk, ETH, Decimal(0))
        await what_holds_decides_the_next_entry(desk, stub)
