"""Which message carries which event type: the table that publishers and the ledger share."""

from __future__ import annotations

from google.protobuf.message import Message
from quantum.ai.v1 import registry_pb2, signal_pb2, universe_pb2
from quantum.analytics.v1 import alerts_pb2, learning_pb2, policy_pb2
from quantum.analytics.v1 import events_pb2 as analytics_pb2
from quantum.exec_risk.v1 import events_pb2 as exec_risk_pb2
from quantum.market.v1 import market_pb2
from quantum.ops.v1 import operations_service_pb2, operators_pb2

SIGNAL_GENERATED = "signal.generated"
PREDICTION = "prediction"
MODEL_WEIGHT_CHANGED = "model.weight_changed"
SERVICE_HEARTBEAT = "service.heartbeat"
ORDER_CHANGED = "order.changed"
FILL_RECORDED = "fill.recorded"
FUNDING_PAID = "funding.paid"
POSITION_OPENED = "position.opened"
POSITION_CHANGED = "position.changed"
POSITION_CLOSED = "position.closed"
EXECUTION_RESULT = "execution.result"
RISK_DECIDED = "risk.decided"
ROUND_DECIDED = "round.decided"
ACCOUNT_SNAPSHOT = "account.snapshot"
TRADING_STATE_CHANGED = "trading_state.changed"
RECONCILE_REPAIRED = "reconcile.repaired"
RISK_ALERT = "risk.alert"
EXECUTION_CHANGED = "execution.changed"
EMERGENCY_STOP = "emergency.stop"
EMERGENCY_RESET = "emergency.reset"
SAFETY_LEVEL_CHANGED = "safety_level.changed"
HEALTH_STATUS = "health.status"
ROUND_OBSERVED = "round.observed"
POLICY_UPDATED = "policy.updated"
SYSTEM_MODE_CHANGED = "system.mode_changed"
DIRECTIVE_ISSUED = "directive.issued"
DIRECTIVE_APPLIED = "directive.applied"
PORTFOLIO_BALANCE = "portfolio.balance"
PROFIT_AMPLIFICATION = "profit.amplification"
MODEL_PROMOTED = "model.promoted"
MODEL_ROLLED_BACK = "model.rolled_back"
LEARNING_EVENT = "learning.event"
MODEL_DRIFT_DETECTED = "model.drift_detected"
TRAINING_PROGRESS = "training.progress"
UNIVERSE_OPPORTUNITY = "universe.opportunity"
REGIME_CHANGED = "regime.changed"
SYSTEM_ALERT = "system.alert"
RECOVERY_ASKED = "recovery.asked"
RECOVERY_DONE = "recovery.done"
CANDLES_WANTED = "candles.wanted"
CANDLES_MISSING = "candles.missing"
OPERATOR_COMMAND = "operator.command"

MESSAGES: dict[str, type[Message]] = {
    SIGNAL_GENERATED: signal_pb2.Signal,
    PREDICTION: signal_pb2.PredictionBatch,
    MODEL_WEIGHT_CHANGED: signal_pb2.ModelWeightChanged,
    SERVICE_HEARTBEAT: operations_service_pb2.ServiceHeartbeat,
    ORDER_CHANGED: exec_risk_pb2.OrderChanged,
    FILL_RECORDED: exec_risk_pb2.FillRecorded,
    FUNDING_PAID: exec_risk_pb2.FundingPaid,
    POSITION_OPENED: exec_risk_pb2.PositionOpened,
    POSITION_CHANGED: exec_risk_pb2.PositionChanged,
    POSITION_CLOSED: exec_risk_pb2.PositionClosed,
    EXECUTION_RESULT: exec_risk_pb2.ExecutionResult,
    RISK_DECIDED: exec_risk_pb2.RiskDecided,
    ROUND_DECIDED: exec_risk_pb2.RoundDecided,
    ACCOUNT_SNAPSHOT: exec_risk_pb2.AccountSnapshot,
    TRADING_STATE_CHANGED: exec_risk_pb2.TradingStateChanged,
    RECONCILE_REPAIRED: exec_risk_pb2.ReconcileRepaired,
    RISK_ALERT: exec_risk_pb2.RiskAlert,
    EXECUTION_CHANGED: exec_risk_pb2.ExecutionChanged,
    EMERGENCY_STOP: exec_risk_pb2.EmergencyStopped,
    EMERGENCY_RESET: exec_risk_pb2.EmergencyReset,
    SAFETY_LEVEL_CHANGED: exec_risk_pb2.SafetyLevelChanged,
    HEALTH_STATUS: analytics_pb2.HealthStatus,
    ROUND_OBSERVED: analytics_pb2.RoundObserved,
    POLICY_UPDATED: policy_pb2.PolicyUpdated,
    SYSTEM_MODE_CHANGED: policy_pb2.SystemModeChanged,
    DIRECTIVE_ISSUED: policy_pb2.Directive,
    DIRECTIVE_APPLIED: exec_risk_pb2.DirectiveApplied,
    PORTFOLIO_BALANCE: policy_pb2.PortfolioBalance,
    PROFIT_AMPLIFICATION: policy_pb2.ProfitAmplification,
    MODEL_PROMOTED: registry_pb2.ModelPromoted,
    MODEL_ROLLED_BACK: registry_pb2.ModelRolledBack,
    LEARNING_EVENT: learning_pb2.LearningEvent,
    MODEL_DRIFT_DETECTED: learning_pb2.ModelDriftDetected,
    TRAINING_PROGRESS: learning_pb2.TrainingProgress,
    UNIVERSE_OPPORTUNITY: universe_pb2.UniverseOpportunity,
    REGIME_CHANGED: universe_pb2.RegimeChanged,
    SYSTEM_ALERT: alerts_pb2.SystemAlert,
    RECOVERY_ASKED: alerts_pb2.RecoveryAsked,
    RECOVERY_DONE: operations_service_pb2.RecoveryDone,
    CANDLES_WANTED: market_pb2.CandlesWanted,
    CANDLES_MISSING: market_pb2.CandlesMissing,
    OPERATOR_COMMAND: operators_pb2.OperatorCommand,
}
"""Event type to its message. An event of a type that is not here is an error, never ignored."""

TYPES = {message: event_type for event_type, message in MESSAGES.items()}
"""Message to its event type."""
