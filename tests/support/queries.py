"""Every query that people and rules ask of Prometheus, and whether it finds data."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from services.ctl.render.boards import DASHBOARDS

RULES = Path(__file__).resolve().parents[2] / "mesh" / "observability" / "rules"
GUIDE = (
    "ai_service_uptime_seconds",
    "exec_risk_service_uptime_seconds",
    "analytics_os_service_uptime_seconds",
    "rate(exec_risk_service_orders_executed_total[5m])",
    "rate(exec_risk_service_positions_closed_total[5m])",
    "exec_risk_service_daily_pnl_usd",
    "histogram_quantile(0.95, rate(ai_service_signal_latency_seconds_bucket[5m]))",
    "rate(exec_risk_service_execution_errors_total[5m])",
    'up{job="ai-service"}',
    'up{job="exec-risk-service"}',
    'up{job="analytics-os-service"}',
    "rate(ai_service_errors_total[5m])",
    # of its alert rules, as they are written there
    'up{job=~"ai-service|exec-risk-service|analytics-os-service"}',
    "rate(errors_total[5m])",
    "histogram_quantile(0.95, rate(signal_latency_seconds_bucket[5m]))",
    "container_memory_usage_bytes / container_spec_memory_limit_bytes",
)
"""Of the operations guide."""
GUIDE_METRICS = {
    "ai": {
        "ai_service_uptime_seconds",
        "ai_service_signals_generated_total",
        "ai_service_predictions_made_total",
        "ai_service_signal_latency_seconds_bucket",
        "ai_service_errors_total",
    },
    "exec_risk": {
        "exec_risk_service_uptime_seconds",
        "exec_risk_service_orders_executed_total",
        "exec_risk_service_positions_opened_total",
        "exec_risk_service_positions_closed_total",
        "exec_risk_service_risk_alerts_total",
        "exec_risk_service_execution_errors_total",
        "exec_risk_service_open_positions",
        "exec_risk_service_daily_pnl_usd",
        "exec_risk_service_daily_trades",
        "exec_risk_service_rpc_calls_received_total",
    },
    "analytics": {
        "analytics_os_service_uptime_seconds",
        "analytics_os_service_events_received_total",
        "analytics_os_service_events_published_total",
        "analytics_os_service_health_checks_total",
        "analytics_os_service_portfolio_value_usd",
        "analytics_os_service_positions_count",
        "analytics_os_service_learning_samples_collected",
    },
}
"""Metrics that the operations guide names, by process."""
RANGE_SECONDS = 3_600
INTERVAL = "30s"
"""At least four scrapes, as Grafana reckons it."""


def of_rules() -> Iterator[str]:
    """Yield what each rule compares: the expression without its thresholds."""
    for path in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                text = re.sub(r"\s*(?:[<>]=?|==)\s*-?[\d.]+\b", "", rule["expr"])
                yield re.sub(r"^absent\((.*)\)$", r"\1", text.strip())


def of_dashboards() -> Iterator[str]:
    """Yield every query of every panel."""
    for board in DASHBOARDS:
        for panel in board.panels:
            for query in panel.queries:
                yield query.expr.replace("$__rate_interval", INTERVAL)


def every() -> list[str]:
    """Return all of them."""
    return [*GUIDE, *of_rules(), *of_dashboards()]


async def series(prometheus: str, expr: str) -> list[dict[str, Any]]:
    """Return what the query finds in the last hour; AssertionError when it is no query."""
    now = time.time()
    asked = {"query": expr, "start": str(now - RANGE_SECONDS), "end": str(now), "step": "5"}
    url = f"{prometheus}/api/v1/query_range"
    async with aiohttp.ClientSession() as session, session.post(url, data=asked) as told:
        body = await told.json()
    assert body["status"] == "success", f"{expr}: {body}"
    found: list[dict[str, Any]] = body["data"]["result"]
    return found


async def without_data(prometheus: str, asked: Sequence[str]) -> list[str]:
    """Return the queries that find no number at all."""
    return [expr for expr in asked if not _numbers(await series(prometheus, expr))]


def _numbers(found: Sequence[dict[str, Any]]) -> bool:
    return any(not math.isnan(float(value)) for one in found for _time, value in one["values"])
