"""A Prometheus of one machine scrapes every replica and every proxy under the catalog's names."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from services.catalog.processes import ON_DEMAND, PROCESSES
from services.ctl.render import scrape
from services.ctl.servers.prometheus import PrometheusServer

ENDPOINTS = {
    "admin": "http://127.0.0.1:9",
    "instances": {
        "ai-1": {"service": "ai", "metrics": "127.0.0.1:1", "admin": "http://127.0.0.1:2"},
        "ai-2": {"service": "ai", "metrics": "127.0.0.1:3", "admin": "http://127.0.0.1:4"},
        "venue": {"service": "venue", "metrics": "127.0.0.1:5"},
    },
}


def server(folder: Path) -> PrometheusServer:
    return PrometheusServer(
        binary=Path("prometheus"), directory=folder, port=9090, log=folder / "log"
    )


def test_every_process_has_its_job_and_its_file(tmp_path: Path) -> None:
    made = yaml.safe_load(scrape.configuration(tmp_path))
    names = [job["job_name"] for job in made["scrape_configs"]]
    assert names == [*(p.name for p in (*PROCESSES, *ON_DEMAND)), scrape.PROXIES]
    files = {
        Path(file).name
        for job in made["scrape_configs"]
        for found in job["file_sd_configs"]
        for file in found["files"]
    }
    assert files == scrape.targets(ENDPOINTS).keys()


def test_the_targets_are_what_runs(tmp_path: Path) -> None:
    server(tmp_path).point_at(ENDPOINTS)
    read = {f.stem: json.loads(f.read_text()) for f in (tmp_path / "targets").glob("*.json")}
    assert [t["targets"] for t in read["ai-service"]] == [["127.0.0.1:1"], ["127.0.0.1:3"]]
    assert [t["targets"] for t in read["paper-venue"]] == [["127.0.0.1:5"]]
    assert read["exec-risk-service"] == []
    assert [(t["targets"][0], t["labels"]["service"]) for t in read["proxies"]] == [
        ("127.0.0.1:9", "gateway"),
        ("127.0.0.1:2", "ai-service"),
        ("127.0.0.1:4", "ai-service"),
    ]
    fewer = {**ENDPOINTS, "instances": {}}
    server(tmp_path).point_at(fewer)
    assert json.loads((tmp_path / "targets" / "ai-service.json").read_text()) == []
    assert not list((tmp_path / "targets").glob(".*"))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    made = server(tmp_path)
    made.prepare()
    made.point_at(ENDPOINTS)
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")],  # noqa: S607
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
