"""Asks this container's own process for its health: `python -m services.ctl.healthcheck`.

Without an argument the question is liveness; with the full name of a gRPC service, readiness. The
address is `GRPC_ADDRESS`, host:port or `unix:<path>`. Exit code 0 means SERVING.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ANSWER_SECONDS = 3.0
DEFAULT_ADDRESS = "127.0.0.1:50051"


def main(arguments: list[str]) -> int:
    """Ask once and return the exit code; the reason of a 1 is one line on stderr."""
    address = os.environ.get("GRPC_ADDRESS", DEFAULT_ADDRESS)
    host, colon, port = address.rpartition(":")
    if host == "0.0.0.0":  # noqa: S104 - it listens on all addresses, this one among them
        address = f"127.0.0.1{colon}{port}"
    service = arguments[0] if arguments else ""
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(request, timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            sys.stderr.write(f"health of {address}: {error}\n")
            return 1
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        sys.stderr.write(f"health of {address} {service}: {name}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
