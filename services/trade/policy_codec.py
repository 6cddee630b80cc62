"""Between the fund's policy and its contract on the wire; see `codec` for its rules."""

from __future__ import annotations

import math

from quantum.analytics.v1 import policy_pb2

from services.trade.codec import (
    CodecError,
    decimal_from_pb,
    decimal_to_pb,
    enum_from_pb,
    enum_to_pb,
    time_from_pb,
    time_to_pb,
)
from services.trade.fund_policy import (
    Directive,
    DirectiveAction,
    FundMode,
    FundPolicy,
    Layer,
    SystemMode,
)


def policy_to_pb(policy: FundPolicy) -> policy_pb2.FundPolicy:
    """Write a policy."""
    return policy_pb2.FundPolicy(
        version=policy.version,
        effective_from=time_to_pb(policy.effective_from),
        system_mode=enum_to_pb(policy.system_mode),
        fund_mode=enum_to_pb(policy.fund_mode),
        signal_share=policy.signal_share,
        size_factor=decimal_to_pb(policy.size_factor),
        max_positions=policy.max_positions,
        max_leverage=policy.max_leverage,
        max_slippage=decimal_to_pb(policy.max_slippage),
        max_orders_per_minute=policy.max_orders_per_minute,
        blocked_symbols=sorted(policy.blocked_symbols),
        model_weights=policy.model_weights,
        hfos_enabled=policy.hfos_enabled,
        pba_enabled=policy.pba_enabled,
        pal_enabled=policy.pal_enabled,
        clm_enabled=policy.clm_enabled,
    )


def policy_from_pb(message: policy_pb2.FundPolicy) -> FundPolicy:
    """Read a policy; CodecError names the first field that breaks its rule."""
    if not math.isfinite(message.signal_share):
        raise CodecError("signal_share: is not finite")
    policy = FundPolicy(
        version=message.version,
        effective_from=time_from_pb(message.effective_from),
        system_mode=enum_from_pb(SystemMode, message.system_mode),
        fund_mode=enum_from_pb(FundMode, message.fund_mode),
        signal_share=message.signal_share,
        size_factor=decimal_from_pb(message.size_factor, "size_factor"),
        max_positions=message.max_positions,
        max_leverage=message.max_leverage,
        max_slippage=decimal_from_pb(message.max_slippage, "max_slippage"),
        max_orders_per_minute=message.max_orders_per_minute,
        blocked_symbols=frozenset(message.blocked_symbols),
        model_weights=dict(message.model_weights),
        hfos_enabled=message.hfos_enabled,
        pba_enabled=message.pba_enabled,
        pal_enabled=message.pal_enabled,
        clm_enabled=message.clm_enabled,
    )
    for field, rule in policy.broken_rules():
        raise CodecError(f"{field}: {rule}")
    return policy


def directive_to_pb(directive: Directive) -> policy_pb2.Directive:
    """Write a directive."""
    return policy_pb2.Directive(
        directive_id=directive.directive_id,
        account=directive.account,
        layer=enum_to_pb(directive.layer),
        action=enum_to_pb(directive.action),
        symbol=directive.symbol,
        position_id=directive.position_id,
        share=decimal_to_pb(directive.share),
        reasons=directive.reasons,
        decided_at=time_to_pb(directive.decided_at),
        effective_from=time_to_pb(directive.effective_from),
        deadline=time_to_pb(directive.deadline),
    )


def directive_from_pb(message: policy_pb2.Directive) -> Directive:
    """Read a directive; CodecError when its share or its times make no sense."""
    directive = Directive(
        directive_id=message.directive_id,
        account=message.account,
        layer=enum_from_pb(Layer, message.layer),
        action=enum_from_pb(DirectiveAction, message.action),
        symbol=message.symbol,
        position_id=message.position_id,
        share=decimal_from_pb(message.share, "share"),
        reasons=tuple(message.reasons),
        decided_at=time_from_pb(message.decided_at),
        effective_from=time_from_pb(message.effective_from),
        deadline=time_from_pb(message.deadline),
    )
    if not 0 < directive.share <= 1:
        raise CodecError(f"share: {directive.share} is not above 0 and at most 1")
    if not directive.decided_at <= directive.effective_from <= directive.deadline:
        raise CodecError("deadline: is not after effective_from, or that not after decided_at")
    return directive
