"""Who may connect to whom in the cluster, by the network policies of both overlays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from services.catalog import ports
from services.catalog.processes import EXEC_RISK, process
from services.ctl import policy
from services.ctl.render.cluster_names import APP, NATS, POSTGRES, workload
from tests.support.cluster import (
    KUBERNETES,
    OVERLAYS,
    Document,
    assert_schema,
    build,
    build_with,
    labels,
    matches,
    policies,
    workloads,
)

TABLE = policy.load()


@pytest.fixture(params=OVERLAYS)
def documents(request: pytest.FixtureRequest) -> tuple[Document, ...]:
    return build(request.param)


def reaches(documents: tuple[Document, ...], source: str, target: str, port: int) -> bool:
    """Tell whether the policies let pods of one workload open a connection to another's port."""
    found = workloads(documents)
    here, there = labels(found[source]), labels(found[target])
    leaves = any(
        peer_takes(rule.get("to"), there) and port_in(rule, port)
        for spec in policies(documents).values()
        if "Egress" in spec["policyTypes"] and matches(spec["podSelector"], here)
        for rule in spec.get("egress", [])
    )
    enters = any(
        peer_takes(rule.get("from"), here) and port_in(rule, port)
        for spec in policies(documents).values()
        if "Ingress" in spec["policyTypes"] and matches(spec["podSelector"], there)
        for rule in spec.get("ingress", [])
    )
    return leaves and enters


def peer_takes(peers: list[dict[str, Any]] | None, held: dict[str, str]) -> bool:
    if peers is None:
        return True
    return any("podSelector" in peer and matches(peer["podSelector"], held) for peer in peers)


def port_in(rule: dict[str, Any], port: int) -> bool:
    return any(listed["port"] == port for listed in rule["ports"])


def test_who_may_connect_to_whom_is_what_the_table_says(documents: tuple[Document, ...]) -> None:
    """Every pair, in both directions: what the table does not name is not let through."""
    edges = {(workload(call.caller), workload(call.callee)) for call in TABLE.calls}
    users = {workload(user) for user in TABLE.bus} | {"setup"}
    names = [*workloads(documents)]
    for source in names:
        for target in names:
            asked = reaches(documents, source, target, ports.GRPC)
            assert asked == ((source, target) in edges), f"{source} to {target}"
        assert reaches(documents, source, NATS, ports.NATS) == (source in users), source
        assert reaches(documents, source, NATS, ports.NATS_ROUTES) == (source == NATS), source


def test_only_owners_of_a_schema_reach_the_database(documents: tuple[Document, ...]) -> None:
    spec = policies(documents)[POSTGRES]
    takers = [
        name
        for name, one in workloads(documents).items()
        if any(
            peer_takes(rule["from"], labels(one)) and port_in(rule, ports.POSTGRES)
            for rule in spec["ingress"]
        )
    ]
    assert sorted(takers) == sorted(process(owner).name for owner in TABLE.database.owners)


def test_nothing_is_allowed_that_no_policy_allows(documents: tuple[Document, ...]) -> None:
    first = policies(documents)["nothing-else"]
    assert first == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_only_the_exchange_connection_leaves_the_cluster(documents: tuple[Document, ...]) -> None:
    outside = [
        name
        for name, spec in policies(documents).items()
        for rule in spec.get("egress", [])
        if any("ipBlock" in peer for peer in rule.get("to", []))
    ]
    assert outside == [EXEC_RISK.name]


def test_the_gateway_reaches_an_oidc_provider_only_where_it_is_asked_for(tmp_path: Path) -> None:
    overlay = KUBERNETES / "overlays" / "prod"
    made = {**yaml.safe_load((overlay / "kustomization.yaml").read_text())}
    components = [*made["components"], "../../components/oidc"]
    with_oidc = build_with(tmp_path, components)
    for document in with_oidc:
        assert_schema(document)
    outside = [
        name
        for name, spec in policies(with_oidc).items()
        if any("ipBlock" in peer for rule in spec.get("egress", []) for peer in rule.get("to", []))
    ]
    assert sorted(outside) == [EXEC_RISK.name, "gateway-to-oidc-provider"]
    assert policies(with_oidc)["gateway-to-oidc-provider"]["podSelector"] == {
        "matchLabels": {APP: policy.GATEWAY}
    }
