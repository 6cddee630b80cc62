"""The fund's policy and its directives survive the wire; what makes no sense is refused."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trade.codec import CodecError
from services.trade.fund_policy import (
    Directive,
    DirectiveAction,
    FundMode,
    FundPolicy,
    Layer,
    SystemMode,
)
from services.trade.policy_codec import (
    directive_from_pb,
    directive_to_pb,
    policy_from_pb,
    policy_to_pb,
)

TIMES = st.integers(1000, 4_000_000_000_000)
SHARES = st.decimals("0.01", "1", places=4)
POLICIES = st.builds(
    FundPolicy,
    version=st.integers(1, 2**31 - 1),
    effective_from=TIMES,
    system_mode=st.sampled_from(SystemMode),
    fund_mode=st.sampled_from(FundMode),
    signal_share=st.floats(0, 1),
    size_factor=st.decimals("0", "2", places=3),
    max_positions=st.integers(0, 100),
    max_leverage=st.integers(1, 125),
    max_slippage=st.decimals("0.0001", "0.05", places=4),
    max_orders_per_minute=st.integers(0, 1000),
    blocked_symbols=st.frozensets(st.sampled_from(["BTCUSDT", "ETHUSDT", "SOLUSDT"])),
    model_weights=st.sampled_from([{}, {"a": 1.0}, {"a": 0.25, "b": 0.75}]),
    hfos_enabled=st.booleans(),
)
DIRECTIVES = st.builds(
    lambda start, wait, last, **rest: Directive(
        decided_at=start, effective_from=start + wait, deadline=start + wait + last, **rest
    ),
    start=TIMES,
    wait=st.integers(0, 60_000),
    last=st.integers(0, 60_000),
    directive_id=st.just("dir-1"),
    account=st.just("main"),
    layer=st.sampled_from(Layer),
    action=st.sampled_from(DirectiveAction),
    symbol=st.just("BTCUSDT"),
    position_id=st.just("pos-1"),
    share=SHARES,
    reasons=st.lists(st.text(max_size=10)).map(tuple),
)


@given(policy=POLICIES)
def test_a_policy_survives_the_wire(policy: FundPolicy) -> None:
    assert policy_from_pb(policy_to_pb(policy)) == policy


@given(directive=DIRECTIVES)
def test_a_directive_survives_the_wire(directive: Directive) -> None:
    assert directive_from_pb(directive_to_pb(directive)) == directive


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"signal_share": 1.01}, "signal_share"),
        ({"signal_share": float("nan")}, "signal_share"),
        ({"size_factor": Decimal("2.1")}, "size_factor"),
        ({"max_leverage": 0}, "max_leverage"),
        ({"max_slippage": Decimal(0)}, "max_slippage"),
        ({"model_weights": {"a": 0.5}}, "model_weights"),
        ({"version": 0}, "version"),
    ],
)
def test_a_policy_that_breaks_a_rule_is_refused_by_name(
    change: dict[str, object], told: str
) -> None:
    """Incident 11: what has no meaning is an error, never mapped to something harmless."""
    broken = replace(FundPolicy(), **change)  # type: ignore[arg-type]
    assert broken.broken_rules() or told == "signal_share"
    with pytest.raises(CodecError, match=told):
        policy_from_pb(policy_to_pb(broken))


def test_an_unknown_mode_is_refused() -> None:
    """Incident 11: an unknown enum value is an error."""
    message = policy_to_pb(FundPolicy())
    message.fund_mode = 77  # type: ignore[assignment]
    with pytest.raises(CodecError, match="FundMode 77"):
        policy_from_pb(message)


def test_a_directive_without_a_share_is_refused() -> None:
    message = directive_to_pb(
        Directive(
            directive_id="dir-1",
            account="main",
            layer=Layer.PBA,
            action=DirectiveAction.REDUCE,
            symbol="BTCUSDT",
            position_id="pos-1",
            share=Decimal(0),
            reasons=(),
            decided_at=5000,
            effective_from=6000,
            deadline=7000,
        )
    )
    with pytest.raises(CodecError, match="share"):
        directive_from_pb(message)
