"""Whether the gateway sends calls to a replica, asked from the gateway's own admin page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp

ANSWER_SECONDS = 2.0
_IN_ROTATION = {"eds_health_status": "HEALTHY"}
"""What Envoy says of a host that no health check and no outlier detection holds back."""


async def sends_to(endpoints: Mapping[str, Any], *instances: str) -> bool:
    """Tell whether the gateway has found these replicas, and healthy.

    `endpoints` is what `endpoints.json` holds. A gateway that does not answer sends to nobody.
    """
    limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.get(f"{endpoints['admin']}/clusters", params={"format": "json"}) as answer,
        ):
            told = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False
    found = [endpoints["instances"][name] for name in instances]
    return all(in_rotation(told, one["service"], one["mesh"]) for one in found)


def in_rotation(told: Mapping[str, Any], service: str, address: str) -> bool:
    """Read from Envoy's list of clusters whether it sends to this address (as gRPC dials it)."""
    hosts = [
        host
        for cluster in told.get("cluster_statuses", ())
        if cluster.get("name") == service
        for host in cluster.get("host_statuses", ())
    ]
    return any(
        _dialled(host["address"]) == address and host.get("health_status") == _IN_ROTATION
        for host in hosts
    )


def _dialled(address: Mapping[str, Any]) -> str:
    if "pipe" in address:
        return f"unix:{address['pipe']['path']}"
    place = address["socket_address"]
    return f"{place['address']}:{place['port_value']}"
