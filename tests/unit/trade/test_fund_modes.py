"""Versions of the fund's policy by market time, and what a mode allows."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.core.fund.versions import (
    CHANGEABLE,
    Invalid,
    differing,
    next_policy,
    values_of,
)
from services.trade.fund_modes import AGGRESSIVE_SIZE, ModeLimits, limits_in, limits_of, with_limits
from services.trade.fund_policy import FundMode, FundPolicy, SystemMode
from services.trade.policy_book import PolicyBook

LIMITS = st.builds(
    ModeLimits,
    signal_share=st.floats(0, 1),
    size_factor=st.decimals(0, 2, places=2),
    max_positions=st.integers(0, 100),
    max_leverage=st.integers(1, 125),
    max_slippage=st.decimals("0.0001", "0.05", places=4),
    max_orders_per_minute=st.integers(0, 100),
)
STRICTER = (FundMode.SAFE, FundMode.CRITICAL)


@given(LIMITS, st.sampled_from(FundMode))
def test_no_mode_but_aggressive_allows_more_than_normal(normal: ModeLimits, mode: FundMode) -> None:
    found = limits_of(mode, normal)
    assert not with_limits(FundPolicy(), found).broken_rules()
    if mode is FundMode.AGGRESSIVE:
        assert found.signal_share >= normal.signal_share
        assert found.max_positions == normal.max_positions
    else:
        assert found.within(normal) == found
    if mode in STRICTER:
        assert found.size_factor <= Decimal("0.6") and found.max_positions <= 5


def test_the_numbers_of_the_modes_are_those_of_the_earlier_system() -> None:
    normal = ModeLimits()
    critical, safe = limits_of(FundMode.CRITICAL, normal), limits_of(FundMode.SAFE, normal)
    assert (critical.signal_share, critical.size_factor, critical.max_positions) == (
        0,
        Decimal("0.3"),
        3,
    )
    assert (critical.max_leverage, critical.max_slippage) == (5, Decimal("0.0005"))
    assert (safe.signal_share, safe.size_factor) == (0.01, Decimal("0.6"))
    assert (safe.max_positions, safe.max_leverage) == (5, 10)
    aggressive = limits_of(FundMode.AGGRESSIVE, normal)
    assert (aggressive.signal_share, aggressive.size_factor) == (0.1, AGGRESSIVE_SIZE)


@given(LIMITS)
def test_a_defensive_system_keeps_within_safe(limits: ModeLimits) -> None:
    policy = with_limits(FundPolicy(system_mode=SystemMode.DEFENSIVE), limits)
    assert limits_in(policy) == limits_of(FundMode.SAFE, limits)
    assert limits_in(replace(policy, system_mode=SystemMode.NORMAL)) == limits


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1000, 1010)), max_size=12),
    st.integers(990, 1020),
)
def test_the_version_that_holds_is_the_newest_that_has_begun(
    heard: list[tuple[int, int]], time: int
) -> None:
    """A version below the last that was seen is refused, whatever order they come in."""
    book = PolicyBook()
    taken: list[FundPolicy] = []
    for version, begins in heard:
        above = version > max((p.version for p in taken), default=0)
        policy = FundPolicy(version=version, effective_from=begins)
        assert book.learn(policy) is above
        if above:
            taken.append(policy)
    begun = [p for p in taken if p.effective_from <= time]
    assert book.at(time) == (max(begun, key=lambda p: p.version) if begun else None)
    assert PolicyBook(book.versions).at(time) == book.at(time)


@given(st.integers(0, 10**12), st.sampled_from(FundMode), st.sampled_from(FundMode))
def test_a_version_touches_no_round_up_to_its_decision(
    time: int, before: FundMode, mode: FundMode
) -> None:
    normal = ModeLimits()
    current = replace(FundPolicy(version=3, effective_from=5000), fund_mode=before)
    found = next_policy(current, {"fund_mode": mode}, normal=normal, time=time)
    assert found.version == 4
    assert found.effective_from > time and found.effective_from >= current.effective_from
    if mode is not before:
        assert limits_in(found) == limits_of(mode, normal)
    back = next_policy(found, values_of(current), normal=normal, time=time)
    assert values_of(back) == values_of(current) and back.version == 5
    assert set(differing(found, back)) <= set(CHANGEABLE)


def test_what_is_given_beside_a_mode_wins_over_its_limits() -> None:
    changes = {"fund_mode": FundMode.SAFE, "max_positions": 2}
    found = next_policy(FundPolicy(), changes, normal=ModeLimits(), time=0)
    assert (found.max_positions, found.max_leverage) == (2, 10)


def test_a_change_that_breaks_rules_names_each() -> None:
    with pytest.raises(Invalid) as caught:
        next_policy(
            FundPolicy(),
            {"signal_share": 1.5, "max_leverage": 0},
            normal=ModeLimits(),
            time=0,
        )
    assert [field for field, _ in caught.value.broken] == ["signal_share", "max_leverage"]
