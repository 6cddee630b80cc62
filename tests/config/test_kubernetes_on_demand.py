"""What a cluster has where it is asked for: the trainer, Alertmanager's way back, backups."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from services.analytics.alerts.receiver import PATH
from services.catalog import ports
from services.catalog.processes import ANALYTICS, TRAINER
from services.ctl.render.cluster_names import (
    APP,
    MONITORING,
    NAMESPACE,
    NATS,
    POSTGRES,
    POSTGRES_LABEL,
)
from services.ctl.render.roles import DATABASE
from tests.support.cluster import (
    CUSTOM,
    KUBERNETES,
    ROOT,
    Document,
    assert_schema,
    build_with,
    containers,
    decode,
    labels,
    of_kind,
    pod,
    policies,
    workloads,
)

PROCESS = "../../components/process"
OURS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": MONITORING}}}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Document, ...]:
    """Production with all these components."""
    wanted = [f"../../components/{name}" for name in ("trainer", "alertmanager", "backup")]
    return build_with(tmp_path_factory.mktemp("cluster"), [*wanted, PROCESS])


def settings(documents: tuple[Document, ...]) -> dict[str, str]:
    """Return what all processes are told."""
    found: dict[str, str] = next(
        d["data"] for d in documents if d["metadata"]["name"].startswith("settings-")
    )
    return found


def test_every_document_is_what_the_schema_says(documents: tuple[Document, ...]) -> None:
    for document in documents:
        assert_schema(document)
    assert not decode(*(d for d in documents if d["apiVersion"] not in CUSTOM))


def test_the_trainer_is_locked_down_and_gives_way(documents: tuple[Document, ...]) -> None:
    found = workloads(documents)[TRAINER.name]
    assert (found["spec"]["replicas"], found["spec"]["strategy"]["type"]) == (1, "Recreate")
    assert pod(found)["securityContext"]["runAsNonRoot"] is True
    [container] = containers(found)
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    assert pod(found)["serviceAccountName"] in of_kind(documents, "ServiceAccount")
    priority = of_kind(documents, "PriorityClass")[pod(found)["priorityClassName"]]
    assert priority["value"] < 0 and priority["preemptionPolicy"] == "Never"
    places = {mount["mountPath"] for mount in container["volumeMounts"]}
    told = {one["name"]: one.get("value") for one in container["env"]}
    assert told["TRAINER_FOLDER"] in places
    assert settings(documents)["CLM_ENABLED"] == "true"


def test_the_trainer_reaches_the_bus_and_nothing_else(documents: tuple[Document, ...]) -> None:
    spec = policies(documents)[TRAINER.name]
    assert spec["podSelector"]["matchLabels"] == {APP: TRAINER.name}
    assert labels(workloads(documents)[TRAINER.name])[APP] == TRAINER.name
    reached = {
        (str(peer), port["port"])
        for rule in spec["egress"]
        for peer in rule["to"]
        for port in rule["ports"]
    }
    bus = {"podSelector": {"matchLabels": {APP: NATS}}}
    assert reached == {(str(bus), ports.NATS), (str(OURS), ports.OTLP)}
    takers = policies(documents)[NATS]["ingress"][0]["from"]
    assert {"podSelector": {"matchLabels": {APP: TRAINER.name}}} in takers


def test_what_alertmanager_tells_comes_back(documents: tuple[Document, ...]) -> None:
    """Address, token, port and every gate on the way say the same."""
    told = settings(documents)
    port = int(told["ALERT_RECEIVER_ADDRESS"].rpartition(":")[2])
    analytics = workloads(documents)[ANALYTICS.name]
    container = pod(analytics)["containers"][0]
    assert port in {one["containerPort"] for one in container["ports"]}
    assert ports.GRPC in {one["containerPort"] for one in container["ports"]}
    service = of_kind(documents, "Service")["alert-receiver"]["spec"]
    assert service["selector"] == {APP: ANALYTICS.name}
    [config] = of_kind(documents, "AlertmanagerConfig").values()
    [hook] = config["spec"]["receivers"][0]["webhookConfigs"]
    assert hook["url"] == f"http://alert-receiver.{NAMESPACE}:{port}{PATH}"
    credentials = hook["httpConfig"]["authorization"]["credentials"]
    file = Path(told["ALERT_RECEIVER_TOKEN_FILE"])
    mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
    volumes = {v["name"]: v for v in pod(analytics)["volumes"]}
    secret = volumes[mounts[str(file.parent)]]["secret"]["secretName"]
    assert credentials == {"name": secret, "key": file.name}
    both = policies(documents)["alerts-both-ways"]
    asked = int(told["ALERTMANAGER_URL"].rpartition(":")[2])
    assert both["ingress"] == [{"from": [OURS], "ports": [{"port": port, "protocol": "TCP"}]}]
    assert both["egress"] == [{"to": [OURS], "ports": [{"port": asked, "protocol": "TCP"}]}]
    peers = of_kind(documents, "PeerAuthentication")[ANALYTICS.name]["spec"]["portLevelMtls"]
    # a name of a YAML mapping that is a number
    assert {int(k): v["mode"] for k, v in peers.items()}[port] == "PERMISSIVE"
    allowed = of_kind(documents, "AuthorizationPolicy")["alert-receiver"]["spec"]["rules"]
    assert allowed == [
        {"to": [{"operation": {"ports": [str(port)], "methods": ["POST"], "paths": [PATH]}}]}
    ]


def backup_pod(documents: tuple[Document, ...]) -> Document:
    """Return the template of the pods that take backups."""
    job = of_kind(documents, "CronJob")["backup"]["spec"]["jobTemplate"]
    found: Document = job["spec"]["template"]
    return found


def test_a_backup_reaches_bus_and_database_and_keeps_its_archives(
    documents: tuple[Document, ...],
) -> None:
    """Nothing else is open to it; both take it; what it calls is a command of `qt`."""
    template = backup_pod(documents)
    held, spec = template["metadata"]["labels"], template["spec"]
    # a job with a proxy beside it never ends
    assert held["sidecar.istio.io/inject"] == "false"
    assert spec["securityContext"]["runAsNonRoot"] and not spec["automountServiceAccountToken"]
    [container] = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not container["image"].startswith("quantum-trader:"), "the overlay names the registry"
    qt, backup, to, folder = container["command"]
    assert (qt, backup, to) == ("qt", "backup", "--to")
    places = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    claims = {
        v["name"]: v.get("persistentVolumeClaim", {}).get("claimName") for v in spec["volumes"]
    }
    assert claims[places[folder]] in of_kind(documents, "PersistentVolumeClaim")

    database = {"podSelector": {"matchLabels": {POSTGRES_LABEL: POSTGRES}}}
    bus = {"podSelector": {"matchLabels": {APP: NATS}}}
    sent = policies(documents)["backup"]
    assert held.items() >= sent["podSelector"]["matchLabels"].items()
    wanted = {(str(bus), ports.NATS), (str(database), ports.POSTGRES)}
    assert {(str(r["to"][0]), r["ports"][0]["port"]) for r in sent["egress"]} == wanted
    taken = [policies(documents)[f"backup-reads-{what}"] for what in ("bus", "database")]
    assert {
        (str({"podSelector": one["podSelector"]}), one["ingress"][0]["ports"][0]["port"])
        for one in taken
    } == wanted
    sender = {"podSelector": sent["podSelector"]}
    assert all(one["ingress"][0]["from"] == [sender] for one in taken)


def test_a_backup_logs_in_where_bus_and_database_are(documents: tuple[Document, ...]) -> None:
    spec = of_kind(documents, "CronJob")["backup"]["spec"]["jobTemplate"]["spec"]["template"][
        "spec"
    ]
    told = {one["name"]: one["value"] for one in spec["containers"][0]["env"]}
    address = str(told["BACKUP_POSTGRES_URL"])
    assert address.endswith(f"@{POSTGRES}-rw:{ports.POSTGRES}/{DATABASE}")
    roles = of_kind(documents, "Cluster")[POSTGRES]["spec"]["managed"]["roles"]
    [role] = [r for r in roles if f"//{r['name']}@" in address]
    volumes = {v["name"]: v for v in spec["volumes"]}
    assert volumes["postgres"]["secret"]["secretName"] == role["passwordSecret"]["name"]
    assert told["NATS_URL"] == f"tls://{NATS}:{ports.NATS}"


def test_secrets_are_documented_and_nothing_of_it_is_there_unasked() -> None:
    told = (ROOT / "docs" / "deployment.md").read_text()
    assert "`bus-trainer`" in told and "`alert-receiver`" in told
    for overlay in ("dev", "prod"):
        text = (KUBERNETES / "overlays" / overlay / "kustomization.yaml").read_text()
        used = yaml.safe_load(text)["components"]
        assert not any(one.endswith(("trainer", "alertmanager", "backup")) for one in used)
