"""Both overlays, as kustomize builds them: schemas, quantities, what belongs together."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from services.catalog import ports
from services.catalog.processes import AI, ANALYTICS, EXEC_RISK, PROCESSES, SERVICES
from services.ctl import policy
from services.ctl.render.cluster_names import APP, NAMESPACE, NATS, POSTGRES
from services.ctl.render.pieces import DUMPER
from tests.support.cluster import (
    CUSTOM,
    KUBERNETES,
    OVERLAYS,
    ROOT,
    Document,
    assert_schema,
    build,
    containers,
    decode,
    labels,
    matches,
    named,
    of_kind,
    pod,
    workloads,
)

TABLE = policy.load()
GUIDE = {
    AI.name: {"limits": {"cpu": "8", "memory": "16Gi"}, "requests": {"cpu": "4", "memory": "8Gi"}},
    EXEC_RISK.name: {
        "limits": {"cpu": "4", "memory": "8Gi"}, "requests": {"cpu": "2", "memory": "4Gi"},
    },
    ANALYTICS.name: {
        "limits": {"cpu": "4", "memory": "8Gi"}, "requests": {"cpu": "2", "memory": "4Gi"},
    },
}  # fmt: skip


@pytest.fixture(params=OVERLAYS)
def documents(request: pytest.FixtureRequest) -> tuple[Document, ...]:
    return build(request.param)


def test_every_document_is_what_the_schema_says(documents: tuple[Document, ...]) -> None:
    for document in documents:
        assert_schema(document)


def test_a_typing_mistake_is_noticed() -> None:
    deployment = copy.deepcopy(workloads(build("prod"))[AI.name])
    deployment["spec"]["template"]["spec"]["container"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        assert_schema(deployment)
    with pytest.raises(AssertionError, match="no schema"):
        assert_schema({**deployment, "kind": "Deploymnet"})
    with pytest.raises(AssertionError, match="no schema"):
        assert_schema({**deployment, "apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget"})


def test_every_quantity_is_one(documents: tuple[Document, ...]) -> None:
    assert not decode(*(d for d in documents if d["apiVersion"] not in CUSTOM))


def test_the_guides_milliseconds_are_no_quantity() -> None:
    """The schema takes `500ms`, the API server does not."""
    scaler = copy.deepcopy(of_kind(build("prod"), "HorizontalPodAutoscaler")[AI.name])
    scaler["spec"]["metrics"][1]["pods"]["target"]["averageValue"] = "500ms"
    assert_schema(scaler)
    others = [d for d in build("prod") if d["apiVersion"] not in CUSTOM]
    for place in (0, len(others)):
        [complaint] = decode(*others[:place], scaler, *others[place:])
        assert "quantities must match" in complaint


def test_no_secret_stands_in_the_manifests(documents: tuple[Document, ...]) -> None:
    assert not of_kind(documents, "Secret")
    text = yaml.dump_all(documents, Dumper=DUMPER)
    assert not re.search(r"PRIVATE KEY|SU[A-Z0-9]{56}|postgresql://\w+:", text)


def test_everything_lies_in_the_one_namespace(documents: tuple[Document, ...]) -> None:
    for document in documents:
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == NAMESPACE, named(document)


def test_every_service_of_the_catalog_runs_under_its_name(
    documents: tuple[Document, ...],
) -> None:
    found = workloads(documents)
    for service in SERVICES:
        [container] = pod(found[service.name])["containers"]
        assert container["command"] == ["python", "-m", f"services.{service.key}"]
        assert container["readinessProbe"]["grpc"] == {
            "port": ports.GRPC, "service": service.grpc_service,
        }  # fmt: skip
        assert container["livenessProbe"]["grpc"] == {"port": ports.GRPC}
        assert {p["name"]: p["containerPort"] for p in container["ports"]} == {
            "grpc": ports.GRPC, "metrics": ports.METRICS,
        }  # fmt: skip


def test_every_process_is_locked_down(documents: tuple[Document, ...]) -> None:
    for name, found in workloads(documents).items():
        security = pod(found)["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod(found)["automountServiceAccountToken"] is False
        for container in containers(found):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name
            assert container["image"], name


def test_the_end_is_longer_than_the_drain(documents: tuple[Document, ...]) -> None:
    settings = next(d["data"] for d in documents if d["metadata"]["name"].startswith("settings-"))
    drain = int(settings["DRAIN_DELAY_SECONDS"]) + int(settings["STOP_GRACE_SECONDS"])
    for service in SERVICES:
        assert pod(workloads(documents)[service.name])["terminationGracePeriodSeconds"] > drain + 15
    lame_duck = re.search(
        r'lame_duck_duration: "(\d+)s"', (ROOT / "mesh/nats/limits.conf").read_text()
    )
    assert lame_duck
    nats = pod(workloads(documents)[NATS])
    assert nats["terminationGracePeriodSeconds"] > int(lame_duck[1]) + 15


def test_selectors_find_the_pods_that_they_are_for(documents: tuple[Document, ...]) -> None:
    found = workloads(documents)
    for name, one in found.items():
        if "selector" in one["spec"]:
            assert matches(one["spec"]["selector"], labels(one)), name
    for kind in ("Service", "PodDisruptionBudget"):
        for name, one in of_kind(documents, kind).items():
            hits = [w for w, d in found.items() if matches(one["spec"]["selector"], labels(d))]
            assert hits == [name.removesuffix("-replicas")], f"{kind}/{name}"


def test_every_port_of_a_service_is_one_of_its_pods(documents: tuple[Document, ...]) -> None:
    for name, service in of_kind(documents, "Service").items():
        [one] = [
            w for w in workloads(documents).values()
            if matches(service["spec"]["selector"], labels(w))
        ]  # fmt: skip
        offered = {
            port["name"]: port["containerPort"]
            for container in containers(one)
            for port in container.get("ports", [])
        }
        for port in service["spec"]["ports"]:
            assert offered[port["targetPort"]] == port["port"], name


def test_every_claim_secret_and_account_is_declared_or_documented(
    documents: tuple[Document, ...],
) -> None:
    told = (ROOT / "docs" / "deployment.md").read_text()
    accounts = of_kind(documents, "ServiceAccount")
    maps = of_kind(documents, "ConfigMap")
    for name, one in workloads(documents).items():
        account = pod(one).get("serviceAccountName")
        assert account is None or account in accounts
        for volume in pod(one).get("volumes", []):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps, name
    for secret in sorted(secrets(documents)):
        assert f"`{secret}`" in told, f"docs/deployment.md does not say what {secret} holds"


def test_an_emergency_stop_that_postgres_has_not_taken_outlives_its_pod(
    documents: tuple[Document, ...],
) -> None:
    """Incident 71: the latch of each replica lies on a disk of its own, which is never removed."""
    found = workloads(documents)[EXEC_RISK.name]
    assert found["kind"] == "StatefulSet"
    [claim] = found["spec"]["volumeClaimTemplates"]
    [container] = pod(found)["containers"]
    at = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    told = {one["name"]: one.get("value") for one in container["env"]}
    assert str(Path(str(told["EMERGENCY_LATCH_FILE"])).parent) == at[claim["metadata"]["name"]]
    kept = found["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert set(kept.values()) == {"Retain"}
    assert found["spec"]["serviceName"] in of_kind(documents, "Service")


def test_no_process_is_given_a_secret_in_its_environment(documents: tuple[Document, ...]) -> None:
    for name, found in workloads(documents).items():
        if name == PROCESSES[-1].name:
            continue  # the paper exchange, whose keys guard nothing
        for container in containers(found):
            for one in container.get("env", []):
                assert "secretKeyRef" not in one.get("valueFrom", {}), f"{name}: {one['name']}"


def test_keys_of_the_exchange_are_files_where_they_are_read(
    documents: tuple[Document, ...],
) -> None:
    found = workloads(documents)[EXEC_RISK.name]
    volumes = {volume["name"]: volume for volume in pod(found)["volumes"]}
    for container in containers(found):
        told = {one["name"]: one.get("value") for one in container["env"]}
        places = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        for variable in ("BINANCE_API_KEY_FILE", "BINANCE_API_SECRET_FILE"):
            file = Path(str(told[variable]))
            secret = volumes[places[str(file.parent)]]["secret"]
            assert file.name in {item["path"] for item in secret["items"]}


def secrets(documents: tuple[Document, ...]) -> set[str]:
    """Return the names of all secrets that something refers to."""
    text = yaml.dump_all(documents, Dumper=DUMPER, default_flow_style=True, width=10**6)
    found = set(re.findall(r"secretName: ([\w-]+)", text))
    found |= set(re.findall(r"(?:secretKeyRef|secretRef): \{(?:[^}]*, )?name: ([\w-]+)", text))
    cluster = of_kind(documents, "Cluster")[POSTGRES]["spec"]
    return found | {role["passwordSecret"]["name"] for role in cluster["managed"]["roles"]}


def test_replicas_and_limits_are_the_guides_in_production() -> None:
    found = workloads(build("prod"))
    for name, resources in GUIDE.items():
        [container] = pod(found[name])["containers"]
        assert container["resources"] == resources
    assert found[EXEC_RISK.name]["spec"]["replicas"] == 2, "a leader and its standby"
    assert "replicas" not in found[AI.name]["spec"], "the autoscaler's number would be overwritten"


def test_ai_scales_as_the_guide_says() -> None:
    scaler = of_kind(build("prod"), "HorizontalPodAutoscaler")[AI.name]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 10)
    assert scaler["scaleTargetRef"]["name"] == AI.name
    cpu, latency = scaler["metrics"]
    assert cpu["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
    assert latency["pods"] == {
        "metric": {"name": "signal_generation_latency"},
        "target": {"type": "AverageValue", "averageValue": "500m"},
    }


def test_the_adapter_makes_that_metric_of_one_that_exists() -> None:
    values = yaml.safe_load((KUBERNETES / "monitoring" / "prometheus-adapter.yaml").read_text())
    [rule] = values["rules"]["custom"]
    assert rule["name"]["as"] == "signal_generation_latency"
    measured = (ROOT / "services/ai/measures.py").read_text()
    for name in re.findall(rf"{AI.metric_prefix}_(\w+?)_(?:sum|count)\b", str(rule)):
        assert f'"{name}"' in measured
    assert rule["metricsQuery"].count("<<.LabelMatchers>>") == 2
    assert "by (<<.GroupBy>>)" in rule["metricsQuery"]


def test_replicas_are_spread_and_disruptions_bounded(documents: tuple[Document, ...]) -> None:
    budgets = of_kind(documents, "PodDisruptionBudget")
    for service in SERVICES:
        assert budgets[service.name]["spec"]["maxUnavailable"] == 1
        spread = pod(workloads(documents)[service.name])["topologySpreadConstraints"]
        keys = {one["topologyKey"] for one in spread}
        assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        for one in spread:
            # else replicas of other services would count too
            assert APP in one["matchLabelKeys"]


def test_the_bus_is_three_nodes(documents: tuple[Document, ...]) -> None:
    nats = workloads(documents)[NATS]
    assert nats["spec"]["replicas"] == 3
    assert nats["spec"]["volumeClaimTemplates"]
    configuration = (ROOT / "mesh" / "nats" / "cluster.conf").read_text()
    for number in range(3):
        assert f"{NATS}-{number}.{nats['spec']['serviceName']}:{ports.NATS_ROUTES}" in configuration


def test_the_database_is_a_cluster_with_the_tuned_values_and_the_tables_roles() -> None:
    cluster = of_kind(build("prod"), "Cluster")[POSTGRES]["spec"]
    assert cluster["instances"] == 3
    assert cluster["minSyncReplicas"] == 1
    tuned = postgres_settings(ROOT / "mesh" / "postgres" / "postgresql.conf")
    for name, value in cluster["postgresql"]["parameters"].items():
        assert tuned[name] == value
    named_roles = {role["name"] for role in cluster["managed"]["roles"]}
    assert named_roles == {*TABLE.database.owners, *TABLE.database.readers}
    assert cluster["bootstrap"]["initdb"]["database"] == "quantum_trader"
    for line in cluster["postgresql"]["pg_hba"]:
        assert line.startswith("hostssl quantum_trader ")


def postgres_settings(file: Path) -> dict[str, str]:
    pairs = (line.partition("#")[0].partition("=") for line in file.read_text().splitlines())
    return {key.strip(): value.strip().strip("'") for key, mark, value in pairs if mark}


def test_development_trades_on_paper_and_production_does_not_without_being_told() -> None:
    found = {}
    for overlay in OVERLAYS:
        found[overlay] = next(
            d["data"] for d in build(overlay) if d["metadata"]["name"].startswith("settings-")
        )
    assert found["dev"]["EXCHANGE_VENUE"] == "paper"
    assert found["prod"]["EXCHANGE_VENUE"] == "demo"
    assert "LIVE_TRADING_CONFIRMED" not in found["prod"]
    assert PROCESSES[-1].name in workloads(build("dev"))
    assert PROCESSES[-1].name not in workloads(build("prod"))
