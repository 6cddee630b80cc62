"""Dashboards: all that the guide names, fresh, and by the rules of Grafana's own linter."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.ctl.render.boards import DASHBOARDS
from services.ctl.render.boards.panel import Dashboard, Kind, Panel, Query

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "mesh" / "observability" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
GUIDE = {
    "System Overview": {"Service health", "Uptime", "Request rate", "Error rate"},
    "Trading Performance": {"Daily PnL", "Win rate", "Average profit per trade", "Position count"},
    "AI Performance": {
        "Model predictions",
        "Signal quality: passed by the gates",
        "Confidence distribution",
        "Ensemble weights",
    },
    "Risk Metrics": {"Current exposure", "Max drawdown", "Risk alerts", "Leverage usage"},
    "System Resources": {"CPU usage", "Memory usage", "Disk I/O", "Network traffic"},
}
GAUGES_PER_REPLICA = ("process_", "network_", "disk_")


def queries() -> Iterator[tuple[Dashboard, Panel, Query]]:
    for board in DASHBOARDS:
        for panel in board.panels:
            for query in panel.queries:
                yield board, panel, query


def plain(expr: str) -> str:
    return expr.replace("$__rate_interval", "1m")


def test_every_dashboard_and_panel_of_the_guide_exists() -> None:
    made = {board.title: {panel.title for panel in board.panels} for board in DASHBOARDS}
    assert made.keys() == GUIDE.keys()
    assert [t for t, wanted in GUIDE.items() if wanted - made[t]] == []
    titles = {title for panels in made.values() for title in panels}
    assert {"Latency of calls", "Latency of signals", "Event bus: lag"} <= titles


def test_the_files_are_what_the_code_makes() -> None:
    dashboards = pytest.importorskip(
        "services.ctl.render.dashboards",
        reason="grafana-foundation-sdk is not installed: make install",
        exc_type=ModuleNotFoundError,
    )
    assert {path.name: path.read_text() for path in FILES} == dashboards.files(), "run make gen"


def test_every_dashboard_has_its_file() -> None:
    assert {path.stem for path in FILES} == {board.uid for board in DASHBOARDS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_linters_rules(path: Path) -> None:
    """Source by a variable, not editable, ids unique, panels inside the page and not on another."""
    made: dict[str, Any] = json.loads(path.read_text())
    assert made["editable"] is False and made["uid"] == path.stem and made["title"]
    assert [v["type"] for v in made["templating"]["list"]] == ["datasource"]
    panels = made["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"] and panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(t["datasource"]["uid"] == "${datasource}" for t in panel["targets"])
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in (at["y"],)}
        assert at["x"] + at["w"] <= 24 and not cells & taken
        taken |= cells


@pytest.mark.parametrize("panel", [p for b in DASHBOARDS for p in b.panels], ids=lambda p: p.title)
def test_queries_are_well_made(panel: Panel) -> None:
    """Rates go over Grafana's interval, counters are added up, quantiles keep their buckets."""
    for query in panel.queries:
        assert "$" not in plain(query.expr)
        for function in re.findall(r"\brate\(", query.expr):
            assert f"{function}" and "$__rate_interval" in query.expr
        counters = re.findall(r"(\w+_total)\b", query.expr)
        alone = all(name.startswith(GAUGES_PER_REPLICA) for name in counters)
        assert not counters or alone or "sum" in query.expr
        if "histogram_quantile" in query.expr:
            assert re.search(r"sum by \((?:job, (?:instance, )?)?le\)", query.expr)
        for label in re.findall(r"{{(\w+)}}", query.legend):
            assert label in query.expr or label in ("job", "instance", "le")
    assert panel.kind is not Kind.HEAT or len(panel.queries) == 1


def test_every_metric_of_a_panel_is_made_somewhere() -> None:
    source = "".join(p.read_text() for p in (ROOT / "services").rglob("*.py"))
    for _board, panel, query in queries():
        text = query.expr.replace("(ai|exec_risk|analytics_os)_service_", "ai_service_")
        for name in re.findall(r"\b(?:ai|exec_risk|analytics_os)_service_([a-z_]+)", text):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert f'"{base}"' in source or f'"{name}"' in source, f"{panel.title}: {name}"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"query_{number}", "expr": plain(query.expr)}
        for number, (_board, _panel, query) in enumerate(queries())
    ]
    made = tmp_path / "queries.yml"
    made.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", made], capture_output=True, text=True)  # noqa: S607
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_is_told_where_they_lie() -> None:
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/dashboards.yml").read_text())[
        "providers"
    ]
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in compose["volumes"])
    assert mounts["./mesh/observability/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./mesh/observability/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert "quantum_admin" not in str(compose)
