"""A stand-in for any process of ours: health, GetHealth and GetReadiness, and switches by files.

Run as `python tests/support/stand_in.py KEY [migrate]`. Next to the file named by STAND_IN_FOLDER:
`<instance>.unready` makes it not ready; `<instance>.hang` makes it stop answering; `<key>.bad`
makes it end with 2 as a bad setting would.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from services.catalog.processes import process

FOLDER = Path(os.environ.get("STAND_IN_FOLDER", "/nonexistent"))
INSTANCE = os.environ.get("SERVICE_INSTANCE", "")
NAMES = {"ai": "AiService", "exec_risk": "ExecRiskService", "analytics": "AnalyticsService"}


def unready() -> bool:
    return (FOLDER / f"{INSTANCE}.unready").exists()


def not_ready() -> tuple[tuple[str, bytes], ...]:
    """Return the details of an error as the services send them, without their heavy imports."""
    info = error_details_pb2.ErrorInfo(
        reason="NOT_READY", domain="quantum-trader", metadata={"postgres": "no answer"}
    )
    status = status_pb2.Status(code=14, message="not ready")
    status.details.add().Pack(info)
    return (("grpc-status-details-bin", status.SerializeToString()),)


def servicer(key: str) -> tuple[Any, Any]:
    """Return the registering function and a servicer that answers the health methods."""
    name = NAMES[key]
    messages: Any = import_module(f"quantum.{key}.v1.{key}_service_pb2")
    rpc: Any = import_module(f"quantum.{key}.v1.{key}_service_pb2_grpc")

    async def health(self: Any, request: Any, context: Any) -> Any:
        status = "critical" if unready() else "healthy"
        return messages.GetHealthResponse(status=status, service=INSTANCE)

    async def readiness(self: Any, request: Any, context: Any) -> Any:
        if unready():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not ready", not_ready())
        return messages.GetReadinessResponse(status="ready")

    kind = type(
        "StandIn",
        (getattr(rpc, f"{name}Servicer"),),
        {"GetHealth": health, "GetReadiness": readiness},
    )
    return getattr(rpc, f"add_{name}Servicer_to_server"), kind()


async def serve(key: str) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    name = process(key).grpc_service
    if key in NAMES:
        add, answers = servicer(key)
        add(answers, server)
    for other in NAMES:
        import_module(f"quantum.{other}.v1.{other}_service_pb2")
    known = [process(other).grpc_service for other in NAMES]
    reflection.enable_server_reflection([*known, reflection.SERVICE_NAME], server)
    server.add_insecure_port(os.environ["GRPC_ADDRESS"])
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"{INSTANCE} serves on {os.environ['GRPC_ADDRESS']}", flush=True)  # noqa: T201
    while not stop.is_set():
        up = health_pb2.HealthCheckResponse.NOT_SERVING if unready() else None
        await health.set(name, up or health_pb2.HealthCheckResponse.SERVING)
        while (FOLDER / f"{INSTANCE}.hang").exists():
            time.sleep(0.1)  # noqa: ASYNC251 - that is what hanging is
        await asyncio.sleep(0.05)
    await health.enter_graceful_shutdown()
    await asyncio.sleep(float(os.environ.get("STAND_IN_DRAIN", "0")))
    await server.stop(2)
    print("stopped in order", flush=True)  # noqa: T201


if __name__ == "__main__":
    if (FOLDER / f"{sys.argv[1]}.bad").exists():
        print("setting FOO: must be a number", flush=True)  # noqa: T201
        sys.exit(2)
    if sys.argv[2:] != ["migrate"]:
        asyncio.run(serve(sys.argv[1]))
