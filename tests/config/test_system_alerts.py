"""Each alert rule is proven to fire and to be over again; Alertmanager groups and inhibits."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cluster import OVERLAYS, build, of_kind

ROOT = Path(__file__).resolve().parents[2]
OBSERVABILITY = ROOT / "mesh" / "observability"
RULES = sorted((OBSERVABILITY / "rules").glob("*.yml"))
ALERTMANAGERS = ("alertmanager.yml", "alertmanager.channels.yml")
PROMTOOL = shutil.which("promtool")
AMTOOL = shutil.which("amtool")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def alerts(path: Path) -> set[str]:
    groups = read(path)["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_promtool_proves_the_rules(path: Path) -> None:
    assert PROMTOOL is not None
    for arguments in (("check", "rules", path.name), ("test", "rules", f"tests/{path.name}")):
        done = subprocess.run(
            [PROMTOOL, *arguments], cwd=path.parent, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_every_alert_is_proven_to_fire_and_to_be_over(path: Path) -> None:
    """A rule that never fires, or never ends, is as bad as none."""
    fired: set[str] = set()
    over: set[str] = set()
    for proof in read(path.parent / "tests" / path.name)["tests"]:
        last: dict[str, float] = {}
        for case in proof.get("alert_rule_test", ()):
            name, time = case["alertname"], seconds(str(case["eval_time"]))
            if case.get("exp_alerts"):
                last[name] = time
            elif name in last and time > last[name]:
                over.add(name)
        fired |= last.keys()
    assert fired == over == alerts(path)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_cluster_has_the_same_rules(overlay: str, tmp_path: Path) -> None:
    """All but the records in which a process stands for a container, which kubelets measure."""
    [rule] = of_kind(build(overlay), "PrometheusRule").values()
    here = {g["name"]: g["rules"] for g in read(OBSERVABILITY / "rules" / "system.yml")["groups"]}
    there = {g["name"]: g["rules"] for g in rule["spec"]["groups"]}
    left_out = [r for name, rules in here.items() for r in rules if r not in there[name]]
    assert here.keys() == there.keys()
    assert {r["record"].partition("_")[0] for r in left_out} == {"container"}
    assert sum(map(len, there.values())) + len(left_out) == sum(map(len, here.values()))
    file = tmp_path / "system.yml"
    file.write_text(yaml.safe_dump(rule["spec"]))
    if PROMTOOL is not None:
        command = [PROMTOOL, "check", "rules", str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def seconds(text: str) -> float:
    """Read `1m45s`."""
    minutes, _, rest = text.rpartition("m")
    return int(minutes or 0) * 60 + float(rest.removesuffix("s") or 0)


@pytest.mark.skipif(
    AMTOOL is None, reason="amtool is not installed (Debian: prometheus-alertmanager)"
)
@pytest.mark.parametrize("name", ALERTMANAGERS)
def test_amtool_takes_the_configuration(name: str) -> None:
    assert AMTOOL is not None
    done = subprocess.run(
        [AMTOOL, "check-config", name], cwd=OBSERVABILITY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    AMTOOL is None, reason="amtool is not installed (Debian: prometheus-alertmanager)"
)
@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "people"), ("warning", "people"), ("low", "page")]
)
@pytest.mark.parametrize("name", ALERTMANAGERS)
def test_alerts_go_to_their_receiver(name: str, severity: str, receiver: str) -> None:
    assert AMTOOL is not None
    done = subprocess.run(
        [AMTOOL, "config", "routes", "test", f"--config.file={name}", f"severity={severity}"],
        cwd=OBSERVABILITY,
        capture_output=True,
        text=True,
    )
    told = done.stdout.strip().split(",")
    assert told == ["analytics", receiver], done.stdout + done.stderr


@pytest.mark.parametrize("severity", ["critical", "high", "warning", "medium", "low"])
@pytest.mark.parametrize("name", ALERTMANAGERS)
def test_no_alert_ends_at_analytics(name: str, severity: str) -> None:
    """A route that matched and goes on takes the alert from the parent's receiver."""
    route = read(OBSERVABILITY / name)["route"]
    told: list[str] = []
    for child in route["routes"]:
        if child.get("matchers", [f'severity="{severity}"']) == [f'severity="{severity}"']:
            told.append(child["receiver"])
            if not child.get("continue"):
                break
    told = told or [route["receiver"]]
    assert told == ["analytics", "page" if severity == "low" else "people"]


@pytest.mark.parametrize("name", ALERTMANAGERS)
def test_one_message_a_cause(name: str) -> None:
    """What both finders tell under one name and component is one group; effects are inhibited."""
    made = read(OBSERVABILITY / name)
    assert made["route"]["group_by"] == ["alertname", "component"]
    known = {a for path in RULES for a in alerts(path)} | {
        "SystemDown",
        "ServiceCritical",
        "ServiceDegraded",
    }
    named = set()
    for rule in made["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            named |= set(matcher.partition("=")[2].strip('~"').split("|"))
    assert named <= known
    receivers = {receiver["name"] for receiver in made["receivers"]}
    wanted = {made["route"]["receiver"], *(route["receiver"] for route in made["route"]["routes"])}
    assert wanted <= receivers


def test_the_channels_are_the_guides_and_the_rest_is_the_same() -> None:
    """E-mail, Slack and a webhook; every secret in a file, none in the text."""
    plain, channels = (read(OBSERVABILITY / name) for name in ALERTMANAGERS)
    receivers, others = ({r["name"]: r for r in c.pop("receivers")} for c in (channels, plain))
    people, back = receivers["people"], receivers["analytics"]
    assert back == others["analytics"], "what it tells comes back to analytics all the same"
    assert {k: v for k, v in channels.items() if k != "global"} == plain
    assert {"email_configs", "slack_configs"} <= people.keys() and "webhook_configs" in back
    told = {**people, **back}
    for configs in (v for k, v in told.items() if k.endswith("_configs")):
        assert all(config["send_resolved"] for config in configs)
    text = (OBSERVABILITY / ALERTMANAGERS[1]).read_text()
    for word in ("auth_password:", "api_url:", "credentials:"):
        assert word not in text


def test_compose_brings_the_channels_and_their_secrets() -> None:
    files = [part for name in ("compose.yaml", "compose.alerts.yaml") for part in ("-f", name)]
    secrets = {"ALERT_SMTP_FILE": "a", "ALERT_SLACK_URL_FILE": "b"}
    done = subprocess.run(
        [Path(sys.executable).with_name("docker-compose"), *files, "config", "--no-env-resolution"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/", **secrets},
    )
    assert (done.returncode, done.stderr) == (0, "")
    made = yaml.safe_load(done.stdout)["services"]
    mounted = {v["target"]: Path(v["source"]).name for v in made["alertmanager"]["volumes"]}
    assert mounted["/etc/alertmanager/alertmanager.yml"] == ALERTMANAGERS[1]
    told = {secret["target"] for secret in made["alertmanager"]["secrets"]}
    text = (OBSERVABILITY / ALERTMANAGERS[1]).read_text()
    assert told == set(re.findall(r"/etc/alertmanager/secrets/\w+", text))
    [webhook] = re.findall(r"url: http://([\w-]+):(\d+)/alertmanager", text)
    analytics = made["analytics-os-service"]["environment"]
    assert webhook == ("analytics-os-service", analytics["ALERT_RECEIVER_ADDRESS"].split(":")[1])
    assert analytics["ALERTMANAGER_URL"] == "http://alertmanager:9093"
