"""The gateway's rendered configuration, checked by Envoy itself and read for known traps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.api import annotations_pb2

from services.catalog.processes import SERVICES
from services.ctl.render import descriptor, gateway
from services.ctl.servers.command import ServerFailed
from services.ctl.servers.envoy import validate
from services.ctl.supervisor.door import Credentials
from services.ctl.supervisor.home import Home
from tests.support.front_door import TABLE, settings

PORTS = {"ingress": 18080, "tls": 18443, "ai": 18001, "exec_risk": 18002, "analytics": 18003}


@pytest.fixture
def bootstrap(tmp_path: Path) -> Path:
    home = Home(tmp_path)
    home.create()
    Credentials(home, TABLE, settings()).tend()
    return gateway.render(home.envoy, PORTS, 18900, policy=TABLE, settings=settings())


@pytest.fixture
def rendered(bootstrap: Path) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load(bootstrap.read_text())
    return made


def listeners(rendered: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {listener["name"]: listener for listener in rendered["static_resources"]["listeners"]}


def connection(listener: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def routes(listener: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for route in connection(listener)["route_config"]["virtual_hosts"][0]["routes"]:
        if "route" in route:
            yield route["match"].get("path") or route["match"]["prefix"], route["route"]


def test_envoy_takes_it(bootstrap: Path) -> None:
    validate(bootstrap)


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("https://login.example.com/realms/fund/certs", "DNS"),
        ("https://10.0.0.7:8443/certs", "IP_ADDRESS"),
        ("http://127.0.0.1:8080/certs", None),
    ],
)
def test_envoy_takes_an_oidc_provider(tmp_path: Path, uri: str, kind: str | None) -> None:
    chosen = settings(oidc_issuer="https://login.example.com/realms/fund", oidc_jwks_uri=uri)
    home = Home(tmp_path)
    home.create()
    Credentials(home, TABLE, chosen).tend()
    made = gateway.render(home.envoy, PORTS, 18900, policy=TABLE, settings=chosen)
    validate(made)
    clusters = {
        c["name"]: c for c in yaml.safe_load(made.read_text())["static_resources"]["clusters"]
    }
    socket = clusters["oidc"].get("transport_socket")
    if kind is None:
        assert socket is None
    else:
        context = socket["typed_config"]
        [name] = context["common_tls_context"]["validation_context"][
            "match_typed_subject_alt_names"
        ]
        assert name["san_type"] == kind
        assert ("sni" in context) is (kind == "DNS")


def test_a_mistake_is_told(bootstrap: Path) -> None:
    bootstrap.write_text(bootstrap.read_text().replace("lb_policy", "lb_polcy"))
    with pytest.raises(ServerFailed, match="lb_polcy"):
        validate(bootstrap)


def test_every_listener_is_on_the_loopback_and_owns_its_port(rendered: dict[str, Any]) -> None:
    for listener in listeners(rendered).values():
        assert listener["address"]["socket_address"]["address"] == "127.0.0.1"
        assert listener["enable_reuse_port"] is False
    assert rendered["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_every_method_of_every_service_has_a_route_at_both_doors(rendered: dict[str, Any]) -> None:
    for door in ("ingress", "tls"):
        known = dict(routes(listeners(rendered)[door]))
        for service in SERVICES:
            for method, kind in descriptor.kinds(service.grpc_service).items():
                route = known[f"/{service.grpc_service}/{method}"]
                assert route["cluster"] == service.key
                assert (route["timeout"] == "0s") == (kind == "stream")


def test_streams_have_no_largest_duration_and_writes_are_never_sent_twice(
    rendered: dict[str, Any],
) -> None:
    for listener in listeners(rendered).values():
        for path, route in routes(listener):
            if route["timeout"] == "0s":
                assert "max_stream_duration" not in route, path
            policy = route.get("retry_policy", {}).get("retry_on", "").split(",")
            if {"unavailable", "reset"} & set(policy):
                _, service, method = path.split("/")
                assert method == "" or descriptor.kinds(service)[method] == "read"


def test_a_health_port_routes_health_and_reflection_and_nothing_else(
    rendered: dict[str, Any],
) -> None:
    for service in SERVICES:
        listener = listeners(rendered)[f"health-{service.key}"]
        assert {path for path, _ in routes(listener)} == {
            f"/{service.grpc_service}/GetHealth",
            f"/{service.grpc_service}/GetReadiness",
            "/grpc.health.v1.Health/",
            "/grpc.health.v1.Health/Watch",
            "/grpc.reflection.v1.ServerReflection/",
            "/grpc.reflection.v1alpha.ServerReflection/",
        }
        assert {route["cluster"] for _, route in routes(listener)} == {f"{service.key}-direct"}


def test_clusters_check_by_full_service_name_and_never_panic(rendered: dict[str, Any]) -> None:
    clusters = {c["name"]: c for c in rendered["static_resources"]["clusters"]}
    for service in SERVICES:
        checked, direct = clusters[service.key], clusters[f"{service.key}-direct"]
        [check] = checked["health_checks"]
        assert check["grpc_health_check"]["service_name"] == service.grpc_service
        assert checked["ignore_health_on_host_removal"] is True
        assert "health_checks" not in direct and "outlier_detection" not in direct
        for cluster in (checked, direct):
            assert cluster["common_lb_config"]["healthy_panic_threshold"]["value"] == 0


def test_the_transcoder_prints_what_is_false_or_zero_in_the_protos_names(
    rendered: dict[str, Any],
) -> None:
    for listener in listeners(rendered).values():
        [transcoder] = [
            f for f in connection(listener)["http_filters"] if f["name"].endswith("transcoder")
        ]
        options = transcoder["typed_config"]["print_options"]
        assert options["always_print_primitive_fields"] is True
        assert options["preserve_proto_field_names"] is True


def test_no_rest_path_is_given_twice() -> None:
    """One path twice in a transcoder validates and breaks both."""
    seen: set[tuple[str, str]] = set()
    for file in descriptor.contracts().file:
        for service in file.service:
            for method in service.method:
                rule = method.options.Extensions[annotations_pb2.http]
                kind = rule.WhichOneof("pattern")
                if kind:
                    path = (kind, getattr(rule, kind))
                    assert path not in seen, path
                    seen.add(path)
