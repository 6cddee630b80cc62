"""The gRPC server of a process: its servicers, operations, reflection, address."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection
from quantum.ops.v1 import operations_service_pb2_grpc

from services.catalog.contracts import SERVICE_NAMES
from services.kit.operations import OperationsServicer

if TYPE_CHECKING:
    from services.kit.process import Process

Servicers = Sequence[tuple[Callable[[Any, grpc.aio.Server], None], Any]]
"""Pairs of a generated `add_XServicer_to_server` and the servicer."""


def add_servicers(server: grpc.aio.Server, process: Process, servicers: Servicers) -> None:
    """Add what a process serves, its operations, and the reflection of all contracts."""
    for add, servicer in servicers:
        add(servicer, server)
    operations_service_pb2_grpc.add_OperationsServiceServicer_to_server(
        OperationsServicer(process), server
    )
    # Every process knows every contract, so that any replica behind the gateway can describe all.
    names = [
        *SERVICE_NAMES,
        health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
        reflection.SERVICE_NAME,
    ]
    reflection.enable_server_reflection(names, server)


def bind(server: grpc.aio.Server, address: str) -> int:
    """Listen on the address and return the port; OSError with a clear text when it is taken."""
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).chmod(0o600)
    elif not port:
        raise OSError(f"cannot listen on {address}")
    return port
