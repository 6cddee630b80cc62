"""Addresses as Envoy writes them, from those that gRPC takes: host:port and `unix:/path`."""

from __future__ import annotations

from typing import Any

UNIX = "unix:"
OWNER_ONLY = 0o600


def endpoint(target: str) -> dict[str, Any]:
    """Return where to connect to."""
    if target.startswith(UNIX):
        return {"pipe": {"path": target.removeprefix(UNIX)}}
    host, _, port = target.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def listen(target: str) -> dict[str, Any]:
    """Return where to listen; a socket in the file system is for its owner alone."""
    made = endpoint(target)
    if "pipe" in made:
        made["pipe"]["mode"] = OWNER_ONLY
    return made
