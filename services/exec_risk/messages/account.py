"""Facts about the account and its risk as messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quantum.exec_risk.v1 import events_pb2 as pb
from quantum.exec_risk.v1 import trading_pb2

from services.exec_risk.core import effects as fx
from services.exec_risk.messages.parts import Parts, Scope
from services.trade.codec import (
    decimal_to_pb,
    enum_to_pb,
    time_to_pb,
)


def _risk(fact: fx.RiskDecided, scope: Scope) -> Parts:
    message = pb.RiskDecided(
        signal_id=fact.signal_id,
        account=scope.account,
        symbol=fact.symbol,
        approved=fact.approved,
        rule=fact.rule,
        reason=fact.reason,
        notional_usd=decimal_to_pb(fact.notional),
        quantity=decimal_to_pb(fact.quantity),
        leverage=fact.leverage,
        time=time_to_pb(fact.time),
    )
    return message, fact.symbol, fact.time, fact.trace_id, (fact.signal_id,)


def _round(fact: fx.RoundDecided, scope: Scope) -> Parts:
    message = pb.RoundDecided(
        account=scope.account,
        time=time_to_pb(fact.time),
        symbols=fact.symbols,
        missing=fact.missing,
        signal_ids=fact.signal_ids,
        equity=decimal_to_pb(fact.equity),
        wallet_balance=decimal_to_pb(fact.wallet_balance),
        open_positions=fact.open_positions,
        closes={symbol: decimal_to_pb(close) for symbol, close in fact.closes.items()},
        in_sample=fact.in_sample,
    )
    return message, "round", fact.time, "", (fact.time,)


def _account(fact: fx.AccountSnapshot, scope: Scope) -> Parts:
    message = pb.AccountSnapshot(
        account=trading_pb2.Account(
            account=scope.account,
            venue=scope.venue,
            wallet_balance=decimal_to_pb(fact.wallet_balance),
            unrealized_pnl=decimal_to_pb(fact.unrealized_pnl),
            equity=decimal_to_pb(fact.equity),
            available_balance=decimal_to_pb(fact.available_balance),
            gross_exposure=decimal_to_pb(fact.gross_exposure),
            daily_pnl=decimal_to_pb(fact.daily_pnl),
            daily_trades=fact.daily_trades,
            open_positions=fact.open_positions,
            time=time_to_pb(fact.time),
            trading_state=enum_to_pb(fact.trading_state),
            in_sample=fact.in_sample,
            emergency_latched=fact.latched,
            safety_level=enum_to_pb(fact.safety),
        )
    )
    named = (fact.time, str(fact.wallet_balance), str(fact.unrealized_pnl))
    return message, "account", fact.time, "", named


def _state(fact: fx.TradingStateChanged, scope: Scope) -> Parts:
    message = pb.TradingStateChanged(
        account=scope.account,
        previous_state=enum_to_pb(fact.previous),
        new_state=enum_to_pb(fact.state),
        reason=fact.reason,
        changed_by=fact.changed_by,
        time=time_to_pb(fact.time),
    )
    return message, "account", fact.time, "", (fact.time, fact.state, fact.request_id)


def _safety(fact: fx.SafetyLevelChanged, scope: Scope) -> Parts:
    message = pb.SafetyLevelChanged(
        account=scope.account,
        previous_level=enum_to_pb(fact.previous),
        new_level=enum_to_pb(fact.level),
        reason=fact.reason,
        time=time_to_pb(fact.time),
    )
    return message, "account", fact.time, "", (fact.time, fact.previous, fact.level)


def _stopped(fact: fx.EmergencyStopped, scope: Scope) -> Parts:
    latch = fact.latch
    message = pb.EmergencyStopped(
        account=scope.account,
        trigger_reason=latch.reason,
        triggered_by=latch.by,
        severity=fact.severity,
        open_positions=fact.open_positions,
        drawdown=decimal_to_pb(fact.drawdown),
        time=time_to_pb(latch.time),
    )
    return message, "account", latch.time, "", (latch.time, latch.request_id)


def _reset(fact: fx.EmergencyReset, scope: Scope) -> Parts:
    message = pb.EmergencyReset(
        account=scope.account,
        reason=fact.reason,
        reset_by=fact.by,
        time=time_to_pb(fact.time),
    )
    return message, "account", fact.time, "", (fact.time, fact.request_id)


def _repaired(fact: fx.ReconcileRepaired, scope: Scope) -> Parts:
    message = pb.ReconcileRepaired(
        account=scope.account,
        symbol=fact.symbol,
        kind=fact.kind,
        detail=fact.detail,
        time=time_to_pb(fact.time),
    )
    return message, fact.symbol or "account", fact.time, "", (fact.kind, fact.evidence)


def _directive(fact: fx.DirectiveApplied, scope: Scope) -> Parts:
    message = pb.DirectiveApplied(
        directive_id=fact.directive_id,
        account=scope.account,
        symbol=fact.symbol,
        result=fact.result,
        reason=fact.reason,
        client_order_ids=fact.client_order_ids,
        time=time_to_pb(fact.time),
    )
    return message, fact.symbol, fact.time, fact.trace_id, (fact.directive_id,)


def _alert(fact: fx.Alert, _: Scope) -> Parts:
    message = pb.RiskAlert(
        severity=fact.severity,
        alert_type=fact.alert_type,
        message=fact.message,
        action_taken=fact.action_taken,
        affected_symbols=[fact.symbol] if fact.symbol else [],
        open_positions_count=fact.open_positions,
        total_exposure_usd=decimal_to_pb(fact.exposure),
        time=time_to_pb(fact.time),
    )
    named = (fact.alert_type, fact.symbol, fact.time, fact.message)
    return message, fact.symbol or "account", fact.time, "", named


ENCODERS: dict[type, Callable[[Any, Scope], Parts]] = {
    fx.RiskDecided: _risk,
    fx.RoundDecided: _round,
    fx.AccountSnapshot: _account,
    fx.TradingStateChanged: _state,
    fx.SafetyLevelChanged: _safety,
    fx.EmergencyStopped: _stopped,
    fx.EmergencyReset: _reset,
    fx.ReconcileRepaired: _repaired,
    fx.DirectiveApplied: _directive,
    fx.Alert: _alert,
}
"""How each fact is written, by its type."""
