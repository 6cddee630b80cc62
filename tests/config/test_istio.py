"""Istio's resources: read strictly, and what they let through is what `mesh/policy.yaml` says."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Iterator
from typing import Any

import pytest
from cloudcoil.models.istio.networking import v1 as networking
from cloudcoil.models.istio.security import v1 as security
from cloudcoil.models.istio.telemetry import v1 as telemetry
from pydantic import ValidationError

from services.catalog import ports
from services.catalog.processes import SERVICES
from services.ctl import policy
from services.ctl.render import descriptor, istio
from services.ctl.render.cluster_names import called, host, principal, workload
from tests.support.cluster import OVERLAYS, ROOT, Document, build, labels, matches, named, workloads

TABLE = policy.load()
MODELS: dict[str, Any] = {
    "networking.istio.io/v1": networking,
    "security.istio.io/v1": security,
    "telemetry.istio.io/v1": telemetry,
}
RESOURCES = tuple(document for document in build("prod") if document["apiVersion"] in MODELS)


def check(document: Document) -> None:
    """Read a document strictly; a field that Istio does not know is lost on the way."""
    kind = getattr(MODELS[document["apiVersion"]], document["kind"])
    kind.model_validate(document, strict=True)
    kept = kind.model_validate(document).model_dump(by_alias=True, exclude_none=True, mode="json")
    lost = set(leaves(document)) - set(leaves(kept))
    assert not lost, f"{named(document)}: unknown {sorted(lost)}"


def leaves(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        yield place
        for key, inner in value.items():
            yield from leaves(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{place}[{number}]")
    else:
        yield place


def find(kind: str, name: str) -> Document:
    [found] = [d for d in RESOURCES if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return copy.deepcopy(found)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_istio_knows_every_field_and_value(overlay: str) -> None:
    found = [d for d in build(overlay) if d["apiVersion"] in MODELS]
    assert len(found) == len(RESOURCES)
    for document in found:
        check(document)


def test_a_wrong_field_type_or_value_is_noticed() -> None:
    route = find("VirtualService", "ai-service")
    route["spec"]["http"][0]["retries"] = {"attempts": 1, "retryOnn": "reset"}
    with pytest.raises(AssertionError, match="retryOnn"):
        check(route)
    route = find("VirtualService", "ai-service")
    route["spec"]["http"][0]["retries"] = {"attempts": "1"}
    with pytest.raises(ValidationError):
        check(route)
    peers = find("PeerAuthentication", "all")
    peers["spec"]["mtls"]["mode"] = "STRICTLY"
    with pytest.raises(ValidationError):
        check(peers)


def allows(callee: str, caller: str, path: str, port: int = ports.GRPC) -> bool:
    """Decide as Istio does: something must allow it."""
    pod = labels(workloads(build("prod"))[workload(callee)])
    for document in RESOURCES:
        spec = document["spec"]
        if document["kind"] != "AuthorizationPolicy" or not spec.get("selector"):
            continue
        assert spec["action"] == "ALLOW"
        if matches(spec["selector"], pod):
            for rule in spec["rules"]:
                sources = [p for f in rule.get("from", []) for p in f["source"]["principals"]]
                if sources and principal(caller) not in sources:
                    continue
                if any(operates(to["operation"], path, port) for to in rule["to"]):
                    return True
    return False


def operates(operation: dict[str, Any], path: str, port: int) -> bool:
    if str(port) not in operation["ports"]:
        return False
    return any(fnmatch.fnmatchcase(path, known) for known in operation.get("paths", ["*"]))


def every_path() -> list[str]:
    names = ["quantum.ops.v1.OperationsService", *(s.grpc_service for s in SERVICES)]
    found = [f"/{name}/{method}" for name in names for method in descriptor.kinds(name)]
    foreign = [f"/{name}/{method}" for name, ms in istio.FOREIGN.items() for method in ms]
    return [*found, *foreign]


def test_who_may_call_what_is_what_the_table_says() -> None:
    """Every caller, callee and method: what the table does not name is refused."""
    for callee in called():
        for caller in (*TABLE.identities, "venue"):
            listed = TABLE.callers_of(callee).get(caller, ())
            for path in every_path():
                wanted = any(fnmatch.fnmatchcase(path, f"/{known}") for known in listed)
                assert allows(callee, caller, path) == wanted, f"{caller} to {callee}: {path}"


def test_metrics_are_open_inside_and_nothing_else_is() -> None:
    assert allows("ai", "venue", "/metrics", ports.METRICS)
    assert not allows("ai", "venue", "/metrics")
    assert not allows("ai", "venue", "/quantum.ai.v1.AiService/GetSignal", ports.METRICS)


def test_nobody_is_let_in_without_a_certificate_but_at_two_ports() -> None:
    assert find("PeerAuthentication", "all")["spec"] == {"mtls": {"mode": "STRICT"}}
    assert find("AuthorizationPolicy", "nobody")["spec"] == {}
    excepted = {
        (document["metadata"]["name"], port, one["mode"])
        for document in RESOURCES
        if document["kind"] == "PeerAuthentication"
        for port, one in document["spec"].get("portLevelMtls", {}).items()
    }
    assert excepted == {
        ("gateway", str(ports.INGRESS_TLS), "DISABLE"),
        *((workload(key), str(ports.METRICS), "PERMISSIVE") for key in called()),
    }


def test_every_method_that_may_be_called_has_a_route_and_no_other() -> None:
    for callee in called():
        spec = find("VirtualService", workload(callee))["spec"]
        assert spec["hosts"] == [host(workload(callee))]
        routed = [m["uri"]["exact"] for route in spec["http"] for m in route["match"]]
        assert len(set(routed)) == len(routed)
        may = [p for p in every_path() if any(allows(callee, c, p) for c in TABLE.identities)]
        assert sorted(routed) == sorted(may)


def test_only_reads_are_retried_once_they_may_have_been_sent() -> None:
    for callee in called():
        for route in find("VirtualService", workload(callee))["spec"]["http"]:
            kinds = {kind_of(m["uri"]["exact"]) for m in route["match"]}
            assert kinds == {route["name"]}
            conditions = set(filter(None, route["retries"].get("retryOn", "").split(",")))
            if route["name"] == "read":
                assert {"unavailable", "reset"} <= conditions
            else:
                assert conditions <= {"connect-failure", "refused-stream"}
            assert (route["timeout"] == "0s") == (route["name"] == "stream")
            # said outright: where nothing is said, Istio retries
            assert "attempts" in route["retries"]


def kind_of(path: str) -> str:
    _, service, method = path.split("/")
    return (istio.FOREIGN.get(service) or descriptor.kinds(service))[method]


def test_a_callers_choice_of_what_is_traced_stands() -> None:
    """A share below 100 would drop calls that their caller has chosen (Envoy's random sampling)."""
    [written] = find("Telemetry", "traces")["spec"]["tracing"]
    assert written["randomSamplingPercentage"] == 100
    told = (ROOT / "docs" / "deployment.md").read_text()
    assert all(f"name: {one['name']}" in told for one in written["providers"])
