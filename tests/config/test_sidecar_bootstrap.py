"""The sidecars' rendered configuration, checked by Envoy itself and read for known traps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from services.catalog.processes import SERVICES, Process, process
from services.ctl import policy
from services.ctl.certs import Authority
from services.ctl.delivery import Delivery
from services.ctl.policy import GATEWAY
from services.ctl.render import endpoints, gateway
from services.ctl.render.sidecar import Dns, Peer, Sidecar, callees_of, render
from services.ctl.render.transport import Credentials
from services.ctl.servers.command import ServerFailed
from services.ctl.servers.envoy import validate
from services.ctl.supervisor.door import Credentials as Door
from services.ctl.supervisor.home import Home
from tests.support.front_door import settings

RULES = policy.load()
PORTS = {"ingress": 18080, "tls": 18443, "ai": 18001, "exec_risk": 18002, "analytics": 18003}
KEYS = [service.key for service in SERVICES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and endpoint files as the proxies find them."""
    folder = tmp_path_factory.mktemp("mesh")
    authority = Authority(folder / "ca", RULES)
    Delivery(authority=authority, folder=folder / "c", identities=RULES.identities).tend()
    for key in KEYS:
        endpoints.write(folder, key, ["127.0.0.1:18100", "unix:/run/x.sock"])
    return folder


def sidecar(folder: Path, of: Process, peer: Peer | None = None) -> Path:
    return render(
        folder / f"{of.key}.yaml",
        Sidecar(
            instance=f"{of.key}-1",
            process=of,
            service=f"unix:{folder}/service.sock",
            inbound="127.0.0.1:18200",
            outbound=f"unix:{folder}/outbound.sock",
            admin="127.0.0.1:18300",
            credentials=Credentials(folder / "c" / of.key),
            peers=dict.fromkeys(callees_of(of.key, RULES), peer or endpoints.folder(folder)),
        ),
        RULES,
    )


def read(bootstrap: Path) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load(bootstrap.read_text())["static_resources"]
    return made


def listener(made: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in made["listeners"] if one["name"] == name)
    return found


def connection(one: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = one["filter_chains"][0]["filters"][0]["typed_config"]
    return found


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("peer", [None, Dns("peers", 15443)], ids=["files", "dns"])
def test_envoy_takes_every_sidecar(folder: Path, key: str, peer: Peer | None) -> None:
    validate(sidecar(folder, process(key), peer))


def test_envoy_takes_the_gateway_with_mutual_tls(folder: Path, tmp_path: Path) -> None:
    credentials = Credentials(folder / "c" / GATEWAY)

    def transport(service: Process) -> dict[str, Any]:
        return credentials.outbound(RULES.spiffe(service.key), service.name)

    home = Home(tmp_path)
    home.create()
    Door(home, RULES, settings()).tend()
    bootstrap = gateway.render(
        home.envoy, PORTS, 18900, policy=RULES, settings=settings(), transport=transport
    )
    validate(bootstrap)
    for cluster in read(bootstrap)["clusters"]:
        context = cluster["transport_socket"]["typed_config"]["common_tls_context"]
        [matcher] = context["combined_validation_context"]["default_validation_context"][
            "match_typed_subject_alt_names"
        ]
        assert matcher["matcher"]["exact"] == RULES.spiffe(cluster["name"].removesuffix("-direct"))


def test_a_missing_certificate_is_told(folder: Path, tmp_path: Path) -> None:
    bootstrap = sidecar(folder, process("ai"))
    bootstrap.write_text(bootstrap.read_text().replace("/c/ai/", "/c/nobody/"))
    with pytest.raises(ServerFailed, match="nobody"):
        validate(bootstrap)


@pytest.mark.parametrize("key", KEYS)
def test_both_sides_of_every_connection_are_checked_anew(folder: Path, key: str) -> None:
    made = read(sidecar(folder, process(key)))
    inbound = listener(made, "inbound")["filter_chains"][0]["transport_socket"]["typed_config"]
    assert inbound["require_client_certificate"] is True
    assert inbound["disable_stateless_session_resumption"] is True
    assert inbound["disable_stateful_session_resumption"] is True
    contexts = [inbound] + [
        cluster["transport_socket"]["typed_config"]
        for cluster in made["clusters"]
        if cluster["name"] != "service"
    ]
    for context in contexts:
        limits = set(context["common_tls_context"]["tls_params"].values())
        assert limits == {"TLSv1_3"}, "the minimum alone leaves clients at 1.2, which fails"
        assert context["common_tls_context"]["alpn_protocols"] == ["h2"]


@pytest.mark.parametrize("key", KEYS)
def test_who_may_call_is_what_the_table_says_and_nothing_else(folder: Path, key: str) -> None:
    inbound = listener(read(sidecar(folder, process(key))), "inbound")
    rbac, router = connection(inbound)["http_filters"]
    assert router["name"].endswith("router")
    rules = rbac["typed_config"]["rules"]
    assert rules["action"] == "ALLOW"
    found = {
        entry["principals"][0]["authenticated"]["principal_name"]["exact"]: {
            next(iter(rule["url_path"]["path"].values())) for rule in entry["permissions"]
        }
        for entry in rules["policies"].values()
    }
    assert found == {
        RULES.spiffe(caller): {f"/{method.removesuffix('*')}" for method in methods}
        for caller, methods in RULES.callers_of(key).items()
    }
    context = inbound["filter_chains"][0]["transport_socket"]["typed_config"]
    names = context["common_tls_context"]["combined_validation_context"][
        "default_validation_context"
    ]["match_typed_subject_alt_names"]
    assert {name["matcher"]["exact"] for name in names} == set(found)
    assert {name["san_type"] for name in names} == {"URI"}


@pytest.mark.parametrize("key", KEYS)
def test_callees_are_named_by_authority_and_only_allowed_methods_have_a_route(
    folder: Path, key: str
) -> None:
    made = read(sidecar(folder, process(key)))
    names = [one["name"] for one in made["listeners"]]
    callees = callees_of(key, RULES)
    assert names == (["inbound", "outbound"] if callees else ["inbound"])
    if not callees:
        return
    outbound = listener(made, "outbound")
    assert outbound["address"]["pipe"]["mode"] == 0o600
    hosts = connection(outbound)["route_config"]["virtual_hosts"]
    assert {host["domains"][0] for host in hosts} == {process(callee).name for callee in callees}
    for host in hosts:
        for route in host["routes"]:
            service, _, method = route["match"]["path"].lstrip("/").partition("/")
            allowed = RULES.callers_of(host["name"])[key]
            assert f"{service}/{method}" in allowed or f"{service}/*" in allowed


def test_only_safe_methods_are_retried_when_they_may_have_been_sent() -> None:
    for name in ("read", "write", "stream"):
        text = (Path(__file__).parents[2] / f"mesh/sidecar/route-{name}.yaml").read_text()
        conditions = set(
            text.partition("retry_on: ")[2].partition("\n")[0].split(",")
            if "retry_on" in text
            else []
        )
        assert bool({"unavailable", "reset"} & conditions) is (name == "read")
        assert ("retriable-headers" in conditions) is (name == "write")
        assert ("max_stream_duration" in text) is (name != "stream")


def test_what_was_not_sent_is_marked_and_nothing_that_was(folder: Path) -> None:
    inbound = listener(read(sidecar(folder, process("ai"))), "inbound")
    [mapper] = connection(inbound)["local_reply_config"]["mappers"]
    flags = set(mapper["filter"]["response_flag_filter"]["flags"])
    assert flags == {"UF", "UH", "UO"}, "UC, UR, UT and DC may have been sent"
    assert mapper["headers_to_add"][0]["header"]["key"] == "x-not-sent"
