"""Whether a replica is in rotation is what the gateway's list of clusters says."""

from __future__ import annotations

from typing import Any

import pytest

from services.ctl.supervisor.in_rotation import in_rotation, sends_to

HEALTHY = {"eds_health_status": "HEALTHY"}


def clusters(name: str, **health: Any) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 5001}}
    host = {"address": address, "stats": [], "health_status": {**HEALTHY, **health}}
    return {"cluster_statuses": [{"name": "other"}, {"name": name, "host_statuses": [host]}]}


def test_a_healthy_host_of_the_service_is_in_rotation() -> None:
    assert in_rotation(clusters("ai"), "ai", "127.0.0.1:5001")
    piped = clusters("ai")
    piped["cluster_statuses"][1]["host_statuses"][0]["address"] = {"pipe": {"path": "/run/a.sock"}}
    assert in_rotation(piped, "ai", "unix:/run/a.sock")


@pytest.mark.parametrize(
    "told",
    [
        {},
        clusters("analytics"),
        clusters("ai-direct"),
        clusters("ai", failed_active_health_check=True),
        clusters("ai", pending_active_hc=True),
        clusters("ai", failed_outlier_check=True),
        clusters("ai", eds_health_status="DRAINING"),
    ],
)
def test_what_is_held_back_or_unknown_is_not(told: dict[str, Any]) -> None:
    assert not in_rotation(told, "ai", "127.0.0.1:5001")
    assert not in_rotation(clusters("ai"), "ai", "127.0.0.1:5002")


async def test_a_gateway_that_does_not_answer_sends_to_nobody() -> None:
    known = {"admin": "http://127.0.0.1:1", "instances": {"ai-1": {"service": "ai", "mesh": ""}}}
    assert not await sends_to(known, "ai-1")
