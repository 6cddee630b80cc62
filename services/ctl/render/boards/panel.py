"""A dashboard: its panels, each with its queries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

RATE = "[$__rate_interval]"
"""Grafana's own; nothing else is substituted. Queries count over replicas."""


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


def quantiles(metric: str, what: str) -> tuple[Query, ...]:
    """Return the queries of a histogram's percentiles."""
    return tuple(
        Query(f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket{RATE})))", f"{what} {n}")
        for q, n in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
    )
