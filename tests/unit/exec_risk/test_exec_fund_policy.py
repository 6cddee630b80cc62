"""The fund's policy in the core: named rules, strictest wins, exits untouched, over restarts."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core.inputs import GatesChanged, PolicyRead
from services.exec_risk.core.policy import Gates, Policy
from services.exec_risk.core.rules import RULES, blocked_by
from services.exec_risk.core.rules.fund import FUND, FUND_GATES, SHOWN
from services.trade.fund_modes import ModeLimits, limits_of, with_limits
from services.trade.fund_policy import FundMode, FundPolicy, SystemMode
from services.trade.order import OrderPurpose, Side
from tests.unit.exec_risk.account_desk import MINUTE, START, Desk, signal_of


def desk_with(policy: FundPolicy | None = None, **account: Any) -> Desk:
    """A desk that needs a fund policy and has read this one."""
    desk = Desk(Policy(fund_required=True, **account))
    if policy is not None:
        desk.tell(PolicyRead((policy,)))
    return desk


def decided(desk: Desk, symbol: str = "BTCUSDT") -> fx.RiskDecided:
    """Let a signal come and return what the rules said."""
    desk.round(signal_of(symbol, Side.BUY, desk.time))
    found = desk.of(fx.RiskDecided)[-1]
    assert isinstance(found, fx.RiskDecided)
    desk.time += MINUTE
    return found


def test_without_a_policy_there_are_no_entries_and_with_one_there_are() -> None:
    """Incident 118: nothing that is not known lets entries through, and the reason has a name."""
    desk = desk_with()
    assert decided(desk).rule == "fund_policy"
    desk.tell(PolicyRead((FundPolicy(version=4),)))
    assert decided(desk).approved
    assert desk.of(fx.StoreFundPolicy) == [fx.StoreFundPolicy(FundPolicy(version=4))]


def test_an_unreadable_policy_stops_entries_and_no_exit() -> None:
    desk = desk_with(FundPolicy())
    desk.open()
    desk.tell(GatesChanged(Gates(policy_away=True)))
    assert blocked_by(desk.book) == "fund_policy"
    desk.time += MINUTE
    assert decided(desk, "ETHUSDT").rule == "fund_policy"
    desk.round(signal_of("BTCUSDT", Side.SELL, desk.time))
    assert desk.placed(OrderPurpose.EXIT)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"system_mode": SystemMode.EMERGENCY}, "system_mode"),
        ({"system_mode": SystemMode.MAINTENANCE}, "system_mode"),
        ({"fund_mode": FundMode.CRITICAL}, "fund_mode"),
        ({"blocked_symbols": frozenset({"BTCUSDT"})}, "fund_symbols"),
        ({"max_positions": 0}, "fund_positions"),
        ({"max_orders_per_minute": 0}, "fund_orders_per_minute"),
        ({"size_factor": Decimal(0)}, "fund_size"),
    ],
)
def test_each_limit_has_a_rule_of_its_own(changes: dict[str, Any], rule: str) -> None:
    """Incidents 121 and 122: factor 0 blocks; a mode blocks entries, passes exits, has a name."""
    desk = desk_with(FundPolicy())
    desk.open("ETHUSDT")
    desk.time += MINUTE
    desk.tell(PolicyRead((replace(FundPolicy(), version=2, **changes),)))
    found = decided(desk)
    assert not found.approved
    assert (found.rule, found.quantity) == (rule, None)
    desk.round(signal_of("ETHUSDT", Side.SELL, desk.time))
    assert [o.symbol for o in desk.placed(OrderPurpose.EXIT)] == ["ETHUSDT"]


def test_a_version_holds_from_its_time_on_and_not_before() -> None:
    desk = desk_with(FundPolicy())
    later = FundPolicy(version=2, effective_from=START + 1, max_positions=0)
    desk.tell(PolicyRead((later,)))
    assert decided(desk).approved
    assert decided(desk, "ETHUSDT").rule == "fund_positions"
    desk.tell(PolicyRead((FundPolicy(version=1),)))
    assert decided(desk, "ETHUSDT").rule == "fund_positions"


def test_a_restart_decides_by_what_was_read_before() -> None:
    desk = desk_with(FundPolicy(max_positions=0))
    again = desk.restart()
    assert decided(again).rule == "fund_positions"


@given(
    st.integers(1, 125),
    st.integers(1, 125),
    st.decimals("0.1", 2, places=1),
    st.sampled_from(FundMode),
    st.sampled_from((SystemMode.NORMAL, SystemMode.DEFENSIVE)),
)
def test_no_policy_lifts_a_limit_of_the_account(
    own: int, funds: int, factor: Decimal, mode: FundMode, system: SystemMode
) -> None:
    limits = replace(limits_of(mode, ModeLimits()), max_leverage=funds, size_factor=factor)
    policy = with_limits(FundPolicy(fund_mode=mode, system_mode=system), limits)
    account = {"max_leverage": own, "leverage": min(own, 5), "max_position_usd": Decimal(900)}
    plain = decided(Desk(Policy(**account)))  # type: ignore[arg-type]
    found = decided(desk_with(policy, **account))
    if mode is FundMode.CRITICAL:
        assert found.rule == "fund_mode"
        return
    assert found.approved and plain.approved
    assert found.leverage <= min(plain.leverage, funds)
    assert found.notional is not None and plain.notional is not None
    assert found.notional <= 900
    if factor <= 1 or system is SystemMode.DEFENSIVE:
        assert found.notional <= plain.notional


def test_the_funds_slippage_caps_an_entry_and_no_exit() -> None:
    desk = desk_with(FundPolicy(max_slippage=Decimal("0.0005")))
    desk.open()
    entering, cap = desk.book.executing.all, Decimal("0.0005")
    assert {e.max_slippage for e in entering.values()} == {cap}


def test_every_rule_of_the_fund_shows_its_limit() -> None:
    names = {g.name for g in FUND_GATES} | {r.name for r in FUND}
    assert names == set(SHOWN) and names <= {r.name for r in RULES}
    policy = FundPolicy(system_mode=SystemMode.DEFENSIVE, version=7)
    assert SHOWN["fund_positions"](policy) == "5"
    assert SHOWN["fund_policy"](policy) == "version 7"
