"""What the Grafana dashboards show: each panel with its queries, as plain values.

Queries count over replicas. `$__rate_interval` is Grafana's; nothing else is substituted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_CALLS = '{__name__=~"(ai|exec_risk|analytics_os)_service_grpc_server_handled_total"}'
_FAILED = (
    '{__name__=~"(ai|exec_risk|analytics_os)_service_grpc_server_handled_total",'
    'grpc_code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DEADLINE_EXCEEDED|DATA_LOSS"}'
)
_SECONDS = '{__name__=~"(ai|exec_risk|analytics_os)_service_grpc_server_handling_seconds_bucket"}'
_RATE = "[$__rate_interval]"


class Kind(StrEnum):
    """How a panel draws."""

    LINES = "timeseries"
    NUMBER = "stat"
    SHARES = "bargauge"
    HEAT = "heatmap"


@dataclass(frozen=True, slots=True)
class Query:
    """One query; the legend may use labels, `{{job}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel."""

    title: str
    description: str
    unit: str
    """Grafana's name, for example `s`, `percentunit`, `currencyUSD`."""
    queries: tuple[Query, ...]
    kind: Kind = Kind.LINES
    width: int = 12
    """Of 24 columns."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard; `uid` is its file's name and the end of its address."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]


def _quantiles(metric: str, what: str) -> tuple[Query, ...]:
    return tuple(
        Query(f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket{_RATE})))", f"{what} {n}")
        for q, n in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
    )


SYSTEM = Dashboard(
    "system-overview",
    "System Overview",
    "Is everything up, how fast does it answer, and how often does it fail.",
    (
        Panel(
            "Service health",
            "Replicas that Prometheus reaches; 0 is down.",
            "short",
            (
                Query(
                    'sum by (job) (up{job=~"ai-service|exec-risk-service|analytics-os-service"})',
                    "{{job}}",
                ),
            ),
            Kind.NUMBER,
            8,
        ),
        Panel(
            "Uptime",
            "Of the oldest replica.",
            "s",
            (
                Query("max(ai_service_uptime_seconds)", "ai-service"),
                Query("max(exec_risk_service_uptime_seconds)", "exec-risk-service"),
                Query("max(analytics_os_service_uptime_seconds)", "analytics-os-service"),
            ),
            Kind.NUMBER,
            8,
        ),
        Panel(
            "Alerts that hold",
            "What docs/runbook.md has a heading for, as analytics sees it now.",
            "short",
            (Query("sum(analytics_os_service_alerts_active) or vector(0)", "alerts"),),
            Kind.NUMBER,
            8,
        ),
        Panel(
            "Request rate",
            "Calls a second that each service answered.",
            "reqps",
            (Query(f"sum by (job) (rate({_CALLS}{_RATE}))", "{{job}}"),),
        ),
        Panel(
            "Error rate",
            "Share of calls that failed by the service's own fault; HighErrorRate is above 5 %.",
            "percentunit",
            (
                Query(
                    f"(sum by (job) (rate({_FAILED}{_RATE})) or 0 * sum by (job)"
                    f" (rate({_CALLS}{_RATE}))) / (sum by (job) (rate({_CALLS}{_RATE})) > 0)",
                    "{{job}}",
                ),
            ),
        ),
        Panel(
            "Errors",
            "Errors a second that services counted, also outside of calls.",
            "cps",
            (
                Query(f"sum(rate(ai_service_errors_total{_RATE}))", "ai-service"),
                Query(f"sum(rate(exec_risk_service_errors_total{_RATE}))", "exec-risk-service"),
                Query(
                    f"sum(rate(analytics_os_service_errors_total{_RATE}))", "analytics-os-service"
                ),
            ),
        ),
        Panel(
            "Latency of calls",
            "95th percentile from a call's arrival to its end, over all replicas.",
            "s",
            (
                Query(
                    f"histogram_quantile(0.95, sum by (job, le) (rate({_SECONDS}{_RATE})))",
                    "{{job}}",
                ),
            ),
        ),
        Panel(
            "Event bus: messages waiting",
            "Messages of each stream that the ledger has not been handed yet.",
            "short",
            (Query("max by (stream) (analytics_os_service_sink_pending_messages)", "{{stream}}"),),
        ),
        Panel(
            "Event bus: lag",
            "Age of what the ledger took and has not written yet.",
            "s",
            (Query("max(analytics_os_service_sink_lag_seconds)", "ledger"),),
        ),
        Panel(
            "Event bus: how full",
            "Filled share of each stream; StreamFilling is above 80 %.",
            "percentunit",
            (Query("max by (stream) (analytics_os_service_stream_filled_share)", "{{stream}}"),),
        ),
        Panel(
            "Events",
            "Facts and signals a second, as they are published and as the ledger records them.",
            "cps",
            (
                Query(f"sum(rate(ai_service_events_published_total{_RATE}))", "ai-service"),
                Query(
                    f"sum(rate(exec_risk_service_events_published_total{_RATE}))",
                    "exec-risk-service",
                ),
                Query(f"sum(rate(analytics_os_service_events_recorded_total{_RATE}))", "ledger"),
            ),
        ),
    ),
)

TRADING = Dashboard(
    "trading-performance",
    "Trading Performance",
    "What the account earned today, and how orders get to the exchange.",
    (
        Panel(
            "Daily PnL",
            "Since 00:00 UTC of market time, after commission and funding. LargeLoss: below -1000.",
            "currencyUSD",
            (Query("exec_risk_service_daily_pnl_usd", "{{instance}}"),),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Win rate",
            "Share of the positions closed since the start that earned something after costs.",
            "percentunit",
            (
                Query(
                    "sum(exec_risk_service_positions_won_total)"
                    " / (sum(exec_risk_service_positions_closed_total) > 0)",
                    "won",
                ),
            ),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Average profit per trade",
            "The day's profit over the positions closed today.",
            "currencyUSD",
            (
                Query(
                    "exec_risk_service_daily_pnl_usd / (exec_risk_service_daily_trades > 0)",
                    "{{instance}}",
                ),
            ),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Position count",
            "Open positions of the account.",
            "short",
            (Query("max(exec_risk_service_open_positions)", "open"),),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Portfolio value",
            "Wallet plus unrealised profit at the last closes, by the ledger.",
            "currencyUSD",
            (Query("max(analytics_os_service_portfolio_value_usd)", "portfolio"),),
        ),
        Panel(
            "Daily PnL over time",
            "Falls back to zero at 00:00 UTC of market time.",
            "currencyUSD",
            (Query("exec_risk_service_daily_pnl_usd", "{{instance}}"),),
        ),
        Panel(
            "Orders and positions",
            "Orders that filled, positions opened and closed, a second.",
            "cps",
            (
                Query(f"sum(rate(exec_risk_service_orders_executed_total{_RATE}))", "orders"),
                Query(f"sum(rate(exec_risk_service_positions_opened_total{_RATE}))", "opened"),
                Query(f"sum(rate(exec_risk_service_positions_closed_total{_RATE}))", "closed"),
            ),
        ),
        Panel(
            "Exits by reason",
            "Positions closed a second, by what ended them.",
            "cps",
            (
                Query(
                    f"sum by (reason) (rate(exec_risk_service_positions_closed_total{_RATE}))",
                    "{{reason}}",
                ),
            ),
        ),
        Panel(
            "Execution errors",
            "Orders a second whose outcome was an error.",
            "cps",
            (Query(f"sum(rate(exec_risk_service_execution_errors_total{_RATE}))", "errors"),),
        ),
        Panel(
            "Latency of orders",
            "From the admission of an order or a cancel to its outcome.",
            "s",
            _quantiles("exec_risk_service_order_request_seconds", "order"),
        ),
    ),
)

MODELS = Dashboard(
    "ai-performance",
    "AI Performance",
    "What the models say, how sure they are, and how long they take.",
    (
        Panel(
            "Model predictions",
            "Candles answered a second, by why they became no signal.",
            "cps",
            (
                Query(
                    "label_replace(sum by (hold) (rate(ai_service_predictions_made_total"
                    f'{_RATE})), "hold", "signal", "hold", "")',
                    "{{hold}}",
                ),
            ),
        ),
        Panel(
            "Signals",
            "Signals a second by action.",
            "cps",
            (
                Query(
                    f"sum by (action) (rate(ai_service_signals_generated_total{_RATE}))",
                    "{{action}}",
                ),
            ),
        ),
        Panel(
            "Signal quality: passed by the gates",
            "Share of answers that became signals, and of signals that the risk rules let pass.",
            "percentunit",
            (
                Query(
                    f"sum(rate(ai_service_signals_generated_total{_RATE}))"
                    f" / (sum(rate(ai_service_predictions_made_total{_RATE})) > 0)",
                    "became signals",
                ),
                Query(
                    f'sum(rate(exec_risk_service_risk_decisions_total{{rule="approved"}}{_RATE}))'
                    f" / (sum(rate(exec_risk_service_risk_decisions_total{_RATE})) > 0)",
                    "let pass",
                ),
            ),
        ),
        Panel(
            "Signal quality: outcomes",
            "Outcomes of single models that became known a second; 1 while drift is seen.",
            "short",
            (
                Query(
                    f"sum(rate(analytics_os_service_learning_samples_judged_total{_RATE}))",
                    "judged",
                ),
                Query("max(analytics_os_service_drift_detected)", "drift"),
            ),
        ),
        Panel(
            "Confidence distribution",
            "Answers by the confidence of the ensemble; a third is no opinion.",
            "short",
            (
                Query(
                    f"sum by (le) (increase(ai_service_prediction_confidence_bucket{_RATE}))",
                    "{{le}}",
                ),
            ),
            Kind.HEAT,
        ),
        Panel(
            "Mean confidence",
            "Of all answers, HOLD included.",
            "percentunit",
            (
                Query(
                    f"sum(rate(ai_service_prediction_confidence_sum{_RATE}))"
                    f" / (sum(rate(ai_service_prediction_confidence_count{_RATE})) > 0)",
                    "confidence",
                ),
            ),
        ),
        Panel(
            "Ensemble weights",
            "Share of each model's vote; an excluded one has none.",
            "percentunit",
            (Query("max by (model) (ai_service_model_weight)", "{{model}}"),),
            Kind.SHARES,
        ),
        Panel(
            "Models loaded",
            "Replicas in which a verified artifact answers.",
            "short",
            (Query("sum(ai_service_models_loaded)", "replicas"),),
            Kind.NUMBER,
        ),
        Panel(
            "Latency of signals",
            "From receiving a candle to its answer being stored; HighLatency: p95 above 2 s.",
            "s",
            _quantiles("ai_service_signal_latency_seconds", "signal"),
        ),
        Panel(
            "Latency of model runs",
            "One run of all models on a batch.",
            "s",
            _quantiles("ai_service_model_run_seconds", "run"),
        ),
    ),
)

RISK = Dashboard(
    "risk-metrics",
    "Risk Metrics",
    "How much is at risk, and what the rules said.",
    (
        Panel(
            "Current exposure",
            "Value of the open positions, both sides.",
            "currencyUSD",
            (Query("exec_risk_service_exposure_usd", "{{instance}}"),),
            Kind.NUMBER,
            8,
        ),
        Panel(
            "Drawdown",
            "Below the highest equity so far; at the emergency threshold everything is closed.",
            "percentunit",
            (
                Query(
                    "1 - exec_risk_service_equity_usd / (exec_risk_service_equity_peak_usd > 0)",
                    "{{instance}}",
                ),
            ),
            Kind.NUMBER,
            8,
        ),
        Panel(
            "Leverage usage",
            "Exposure over equity.",
            "none",
            (
                Query(
                    "exec_risk_service_exposure_usd / (exec_risk_service_equity_usd > 0)",
                    "{{instance}}",
                ),
            ),
            Kind.NUMBER,
            8,
        ),
        Panel(
            "Exposure over time",
            "Value of the open positions, and the equity behind it.",
            "currencyUSD",
            (
                Query("exec_risk_service_exposure_usd", "exposure {{instance}}"),
                Query("exec_risk_service_equity_usd", "equity {{instance}}"),
            ),
        ),
        Panel(
            "Max drawdown",
            "Deepest of the last day.",
            "percentunit",
            (
                Query(
                    "max_over_time((1 - exec_risk_service_equity_usd"
                    " / (exec_risk_service_equity_peak_usd > 0))[1d:30s])",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Risk alerts",
            "Alerts of the account within five minutes, by severity.",
            "short",
            (
                Query(
                    "sum by (severity) (increase(exec_risk_service_risk_alerts_total[5m]))",
                    "{{severity}}",
                ),
            ),
        ),
        Panel(
            "Decisions by rule",
            "Signals judged a second, by the rule that decided: the eight that did most often.",
            "cps",
            (
                Query(
                    f"topk(8, sum by (rule) (rate(exec_risk_service_risk_decisions_total{_RATE})))",
                    "{{rule}}",
                ),
            ),
        ),
        Panel(
            "Emergency stops",
            "Pulled since the start.",
            "short",
            (Query("sum(exec_risk_service_emergency_stops_total)", "stops"),),
            Kind.NUMBER,
        ),
        Panel(
            "Exchange limits",
            "Largest share of a rate limit of the exchange that is in use.",
            "percentunit",
            (Query("max(exec_risk_service_exchange_limit_used_ratio)", "used"),),
        ),
    ),
)

RESOURCES = Dashboard(
    "system-resources",
    "System Resources",
    "What the processes take of their machines.",
    (
        Panel(
            "CPU usage",
            "Cores in use by each process.",
            "none",
            (Query(f"rate(process_cpu_seconds_total{_RATE})", "{{job}} {{instance}}"),),
        ),
        Panel(
            "Memory usage",
            "Resident memory of each process.",
            "bytes",
            (Query("process_resident_memory_bytes", "{{job}} {{instance}}"),),
        ),
        Panel(
            "Memory of the limit",
            "Resident memory over what the process may have; HighMemoryUsage is above 90 %.",
            "percentunit",
            (
                Query(
                    "process_resident_memory_bytes / (process_memory_limit_bytes > 0)",
                    "{{job}} {{instance}}",
                ),
            ),
        ),
        Panel(
            "Disk I/O",
            "Bytes a second that each process reads from and writes to disks.",
            "Bps",
            (
                Query(f"rate(process_read_bytes_total{_RATE})", "read {{job}} {{instance}}"),
                Query(f"rate(process_written_bytes_total{_RATE})", "written {{job}} {{instance}}"),
            ),
        ),
        Panel(
            "Network traffic",
            "Bytes a second of each machine or pod.",
            "Bps",
            (
                Query(f"rate(network_received_bytes_total{_RATE})", "received {{instance}}"),
                Query(f"rate(network_sent_bytes_total{_RATE})", "sent {{instance}}"),
            ),
        ),
        Panel(
            "Traffic through the proxies",
            "Bytes a second that callers send and get, by whose proxy it is.",
            "Bps",
            (
                Query(
                    f"sum by (service) (rate(envoy_http_downstream_cx_rx_bytes_total{_RATE}))",
                    "received {{service}}",
                ),
                Query(
                    f"sum by (service) (rate(envoy_http_downstream_cx_tx_bytes_total{_RATE}))",
                    "sent {{service}}",
                ),
            ),
        ),
        Panel(
            "Free disk",
            "Free share of the disk of each process's working folder.",
            "percentunit",
            (Query("disk_free_bytes / (disk_size_bytes > 0)", "{{job}} {{instance}}"),),
        ),
        Panel(
            "Open files",
            "File descriptors of each process; `qt doctor` shows the limit.",
            "short",
            (Query("process_open_fds", "{{job}} {{instance}}"),),
        ),
    ),
)

DASHBOARDS = (SYSTEM, TRADING, MODELS, RISK, RESOURCES)
