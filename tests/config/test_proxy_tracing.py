"""Tracing of the proxies: Envoy takes it, and only the gateway begins traces."""

from __future__ import annotations

from typing import Any

import pytest

from services.ctl.render.tracing import COLLECTOR, SHARE_PERCENT, Tracing


def bootstrap() -> dict[str, Any]:
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": {}}
    return {
        "static_resources": {
            "listeners": [
                {"name": name, "filter_chains": [{"filters": [{**manager, "typed_config": {}}]}]}
                for name in ("ingress", "health-ai")
            ],
            "clusters": [],
        }
    }


def tracing_of(made: dict[str, Any], listener: int) -> dict[str, Any] | None:
    chain = made["static_resources"]["listeners"][listener]["filter_chains"][0]
    found: dict[str, Any] | None = chain["filters"][0]["typed_config"].get("tracing")
    return found


def share(block: dict[str, Any]) -> int:
    sampler = block["provider"]["typed_config"]["sampler"]
    assert sampler["name"].endswith("parent_based"), "the caller's choice is kept"
    wrapped = sampler["typed_config"]["wrapped_sampler"]["typed_config"]
    return int(wrapped["sampling_percentage"]["numerator"])


@pytest.mark.parametrize("begins", [0, SHARE_PERCENT, 100])
def test_a_listener_keeps_the_callers_choice_and_begins_its_own_share(begins: int) -> None:
    made = bootstrap()
    Tracing("127.0.0.1", 4317).trace(made, "gateway", begins=begins)
    block = tracing_of(made, 0)
    assert block is not None
    assert share(block) == begins
    assert block["provider"]["typed_config"]["service_name"] == "gateway"


def test_ports_that_only_serve_health_are_not_traced() -> None:
    made = bootstrap()
    Tracing("127.0.0.1", 4317).trace(made, "gateway")
    assert tracing_of(made, 1) is None


def test_the_collector_is_there_once() -> None:
    made = bootstrap()
    Tracing("10.0.0.7", 4317).trace(made, "gateway")
    (cluster,) = made["static_resources"]["clusters"]
    assert cluster["name"] == COLLECTOR
    told = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    assert told == {"socket_address": {"address": "10.0.0.7", "port_value": 4317}}
