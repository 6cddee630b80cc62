"""How much is at risk, and what the rules said."""

from __future__ import annotations

from services.ctl.render.boards.panel import RATE, Dashboard, Kind, Panel, Query

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
                    f"topk(8, sum by (rule) (rate(exec_risk_service_risk_decisions_total{RATE})))",
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
