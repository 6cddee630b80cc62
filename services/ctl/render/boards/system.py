"""Is everything up, how fast does it answer, and how often does it fail."""

from __future__ import annotations

from services.ctl.render.boards.panel import RATE, Dashboard, Kind, Panel, Query

_CALLS = '{__name__=~"(ai|exec_risk|analytics_os)_service_grpc_server_handled_total"}'
_FAILED = (
    '{__name__=~"(ai|exec_risk|analytics_os)_service_grpc_server_handled_total",'
    'grpc_code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DEADLINE_EXCEEDED|DATA_LOSS"}'
)
_SECONDS = '{__name__=~"(ai|exec_risk|analytics_os)_service_grpc_server_handling_seconds_bucket"}'

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
            (Query(f"sum by (job) (rate({_CALLS}{RATE}))", "{{job}}"),),
        ),
        Panel(
            "Error rate",
            "Share of calls that failed by the service's own fault; HighErrorRate is above 5 %.",
            "percentunit",
            (
                Query(
                    f"(sum by (job) (rate({_FAILED}{RATE})) or 0 * sum by (job)"
                    f" (rate({_CALLS}{RATE}))) / (sum by (job) (rate({_CALLS}{RATE})) > 0)",
                    "{{job}}",
                ),
            ),
        ),
        Panel(
            "Errors",
            "Errors a second that services counted, also outside of calls.",
            "cps",
            (
                Query(f"sum(rate(ai_service_errors_total{RATE}))", "ai-service"),
                Query(f"sum(rate(exec_risk_service_errors_total{RATE}))", "exec-risk-service"),
                Query(
                    f"sum(rate(analytics_os_service_errors_total{RATE}))", "analytics-os-service"
                ),
            ),
        ),
        Panel(
            "Latency of calls",
            "95th percentile from a call's arrival to its end, over all replicas.",
            "s",
            (
                Query(
                    f"histogram_quantile(0.95, sum by (job, le) (rate({_SECONDS}{RATE})))",
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
                Query(f"sum(rate(ai_service_events_published_total{RATE}))", "ai-service"),
                Query(
                    f"sum(rate(exec_risk_service_events_published_total{RATE}))",
                    "exec-risk-service",
                ),
                Query(f"sum(rate(analytics_os_service_events_recorded_total{RATE}))", "ledger"),
            ),
        ),
    ),
)
