"""Alerts of the mesh: promtool proves them where it is found, and people are told what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.catalog import ports
from services.catalog.processes import SERVICES
from services.ctl.policy import GATEWAY
from services.ctl.render.stats import PATH

ROOT = Path(__file__).resolve().parents[2]
OBSERVABILITY = ROOT / "mesh" / "observability"
RULES = OBSERVABILITY / "rules" / "mesh.yml"
PROOFS = OBSERVABILITY / "rules" / "tests" / "mesh.yml"
PROMTOOL = shutil.which("promtool")


def alerts() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "rules/mesh.yml"),
        ("test", "rules", "rules/tests/mesh.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
    ],
    ids=" ".join,
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], cwd=OBSERVABILITY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_in_a_proof_and_says_what_to_do() -> None:
    page = (ROOT / "mesh" / "README.md").read_text()
    proofs = yaml.safe_load(PROOFS.read_text())
    fired = {
        case["alertname"]
        for proof in proofs["tests"]
        for case in proof["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert {rule["alert"] for rule in alerts()} == fired
    for rule in alerts():
        assert rule["labels"]["severity"] in ("high", "medium")
        assert re.search(rf"^- `{rule['alert']}`: ", page, re.MULTILINE), rule["alert"]


def test_prometheus_reads_every_proxy_and_the_rules() -> None:
    made = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())
    assert made["rule_files"] == ["rules/*.yml"]
    [job] = [job for job in made["scrape_configs"] if job["job_name"] == "proxies"]
    assert job["metrics_path"] == PATH
    [found] = job["dns_sd_configs"]
    assert set(found["names"]) == {GATEWAY, *(service.name for service in SERVICES)}
    assert found["port"] == ports.PROXY_STATS
