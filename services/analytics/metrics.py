"""Metrics of analytics, with the operations guide's names."""

from __future__ import annotations

from typing import Any

from services.kit.observe.metrics import Metrics

ERROR_KINDS = ("database", "record", "unreadable", "health", "fund", "learning")
"""Every one is shown from the start, so that rates see its zero."""
CHANNELS = ("email", "slack", "telegram", "webhook", "alertmanager")


class AnalyticsMetrics:
    """What `/metrics` shows of the ledger, the portfolio and health."""

    def __init__(self, metrics: Metrics) -> None:
        self.received = metrics.counter(
            "events_received_total", "Messages taken from the bus.", ("stream",)
        )
        self.recorded = metrics.counter(
            "events_recorded_total", "Events that were new to the ledger."
        )
        self.rejected = metrics.counter(
            "events_rejected_total", "Messages that went to the dead-letter stream."
        )
        self.published = metrics.counter("events_published_total", "Messages published.")
        self.health_checks = metrics.counter("health_checks_total", "Health checks made.")
        self.errors = metrics.counter("errors_total", "Errors, by what failed.", ("kind",))
        for kind in ERROR_KINDS:
            self.errors.labels(kind)
        self.portfolio_value = metrics.gauge(
            "portfolio_value_usd", "Wallet plus unrealised profit at the last closes."
        )
        self.positions = metrics.gauge("positions_count", "Open positions by the ledger.")
        self.samples = metrics.gauge(
            "learning_samples_collected", "Predictions that the ledger holds."
        )
        self.ledger_difference = metrics.gauge(
            "ledger_difference_usd",
            "What no fill and no settlement explains of the wallet's change in the last hour.",
            ("account",),
        )
        self.sink_pending = metrics.gauge(
            "sink_pending_messages", "Messages that wait to be written, by stream.", ("stream",)
        )
        self.sink_waiting = metrics.gauge(
            "sink_lag_seconds", "Age of the oldest batch that is taken and not yet written."
        )
        self.sink_seconds = metrics.histogram(
            "sink_batch_seconds", "Time from a batch's arrival to its commit."
        )
        self.alerts = metrics.gauge("alerts_active", "Alerts that hold now, by kind.", ("type",))
        self.deliveries = metrics.counter(
            "alert_deliveries_total", "Messages about alerts, by channel.", ("channel", "status")
        )
        for channel in CHANNELS:
            for status in ("delivered", "failed"):
                self.deliveries.labels(channel, status)
        self.auto_restarts = metrics.counter(
            "auto_restarts_total", "Restarts that were asked for and that a supervisor did."
        )
        self.recoveries = metrics.counter(
            "recoveries_total",
            "What supervisors answered to requests for recovery.",
            ("action", "answer"),
        )
        self.stream_share = metrics.gauge(
            "stream_filled_share", "Filled share of a stream's bytes.", ("stream",)
        )
        self.market_age = metrics.gauge(
            "market_age_seconds", "Seconds since market time moved last, by the wall clock."
        )


class LearningMetrics:
    """What `/metrics` shows of the models' results and of the learning loop."""

    def __init__(self, metrics: Metrics, errors: Any) -> None:
        """`errors` is the service's own counter."""
        self.errors = errors
        self.judged = metrics.counter(
            "learning_samples_judged_total", "Outcomes of single models that became known."
        )
        self.drift = metrics.gauge(
            "drift_detected", "1 while the active artifact sees or says other than it did."
        )
        self.retrainings = metrics.gauge(
            "retrainings_triggered_total", "Trainings asked for, ever."
        )
        self.given_up = metrics.gauge(
            "learning_given_up", "1 after too many failed trainings in a row."
        )
