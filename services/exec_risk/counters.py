"""Metrics of exec_risk under the names of the operations guide, counted from decisions."""

from __future__ import annotations

from collections.abc import Sequence

from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb

from services.exec_risk.core import effects as fx
from services.exec_risk.core.rules import APPROVED, RULES
from services.kit.observe.metrics import Metrics
from services.trade.position import ExitReason

_SEVERITIES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")


class Counters:
    """Counts effects after they were committed."""

    def __init__(self, metrics: Metrics) -> None:
        self._orders = metrics.counter("orders_executed_total", "Orders that filled.")
        self._opened = metrics.counter("positions_opened_total", "Positions opened.")
        self._closed = metrics.counter("positions_closed_total", "Positions closed.", ("reason",))
        self._alerts = metrics.counter("risk_alerts_total", "Risk alerts raised.", ("severity",))
        self._stops = metrics.counter("emergency_stops_total", "Emergency stops pulled.")
        self._failed = metrics.counter(
            "execution_errors_total", "Orders whose outcome was an error."
        )
        self._published = metrics.counter("events_published_total", "Facts put into the outbox.")
        self._decisions = metrics.counter(
            "risk_decisions_total", "Signals judged, by the rule that decided.", ("rule",)
        )
        self._executions = metrics.counter(
            "executions_total", "Executions that ended.", ("strategy", "state")
        )
        self._errors = metrics.counter("errors_total", "Errors of any kind.")
        self._open = metrics.gauge("open_positions", "Open positions.")
        self._pnl = metrics.gauge(
            "daily_pnl_usd", "Profit since 00:00 UTC after commission and funding."
        )
        self._trades = metrics.gauge("daily_trades", "Positions closed since 00:00 UTC.")
        self._won = metrics.counter("positions_won_total", "Positions closed with a net profit.")
        self._exposure = metrics.gauge("exposure_usd", "Value of the open positions, both sides.")
        self._equity = metrics.gauge("equity_usd", "Wallet plus unrealised profit.")
        self._peak = metrics.gauge(
            "equity_peak_usd", "Highest equity so far, from which the drawdown limit counts."
        )
        # a series that appears with its first event hides that event from a rate
        for reason in ExitReason:
            self._closed.labels(str(reason))
        for severity in _SEVERITIES:
            self._alerts.labels(severity)
        for rule in RULES:
            self._decisions.labels(rule.name)
        self._decisions.labels(APPROVED)
        self._since_start = dict.fromkeys(("orders", "opened", "closed", "alerts", "failed"), 0)

    def count(self, effects: Sequence[fx.Effect]) -> None:
        """Count what was decided and stored."""
        for effect in effects:
            if isinstance(effect, fx.FACTS):
                self._published.inc()
            self._count_one(effect)

    def error(self) -> None:
        """Count an error that has no effect of its own."""
        self._errors.inc()

    def since_start(self) -> pb.ExecutionMetrics:
        """Return the counters as `/health` shows them."""
        seen = self._since_start
        return pb.ExecutionMetrics(
            orders_executed=seen["orders"],
            positions_opened=seen["opened"],
            positions_closed=seen["closed"],
            risk_alerts=seen["alerts"],
            execution_errors=seen["failed"],
        )

    def _count_one(self, effect: fx.Effect) -> None:
        seen = self._since_start
        match effect:
            case fx.ExecutionResult(status="SUCCESS" | "PARTIAL"):
                self._orders.inc()
                seen["orders"] += 1
            case fx.ExecutionResult():
                self._failed.inc()
                self._errors.inc()
                seen["failed"] += 1
            case fx.PositionOpened():
                self._opened.inc()
                seen["opened"] += 1
            case fx.PositionClosed(position=position):
                self._closed.labels(str(position.exit_reason)).inc()
                self._won.inc(position.net_pnl > 0)
                seen["closed"] += 1
            case fx.Alert(severity=severity):
                self._alerts.labels(severity).inc()
                seen["alerts"] += 1
            case fx.ExecutionChanged(execution=execution) if execution.state.final:
                self._executions.labels(execution.strategy.value, execution.state.value).inc()
            case fx.EmergencyStopped():
                self._stops.inc()
            case fx.RiskDecided(rule=rule):
                self._decisions.labels(rule).inc()
            case fx.AccountSnapshot():
                self._open.set(effect.open_positions)
                self._pnl.set(float(effect.daily_pnl))
                self._trades.set(effect.daily_trades)
                self._show_money(effect)
            case _:
                return

    def _show_money(self, snapshot: fx.AccountSnapshot) -> None:
        """Show what is known: before the first reading of the exchange there is no wallet."""
        self._exposure.set(float(snapshot.gross_exposure))
        if snapshot.wallet_balance is not None:
            equity = snapshot.wallet_balance + snapshot.unrealized_pnl
            self._equity.set(float(equity))
            self._peak.set(float(max(equity, snapshot.high_water or equity)))
