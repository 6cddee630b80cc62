"""Drain and maintenance of whole services, as the operator switches and sees them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError
from quantum.analytics.v1 import modes_pb2
from quantum.exec_risk.v1 import trading_pb2
from quantum.ops.v1 import operations_service_pb2 as ops
from quantum.ops.v1 import operations_service_pb2_grpc as ops_rpc
from quantum.ops.v1 import operators_pb2

from services.catalog import subjects
from services.catalog.processes import ANALYTICS, EXEC_RISK, SERVICES
from services.ctl.gateway_client import GatewayClient, connected
from services.ctl.operator_bus import operator_bus
from services.ctl.supervisor.home import Home, Refused, read_json

ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.5
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def switch(
    home: Home, request: modes_pb2.SetServiceModeRequest
) -> modes_pb2.SetServiceModeResponse:
    """Ask analytics: through the gateway or, while it is out of rotation, at its own address."""
    try:
        async with connected(home) as client:
            return await client.set_service_mode(request)
    except Refused as refusal:
        cause = refusal.__cause__
        if not (isinstance(cause, grpc.aio.AioRpcError) and cause.code() in _GONE):
            raise
        return await _directly(home, request, refusal)


async def _directly(
    home: Home, request: modes_pb2.SetServiceModeRequest, refusal: Refused
) -> modes_pb2.SetServiceModeResponse:
    for name, instance in _instances(home).items():
        if instance["service"] != ANALYTICS.key:
            continue
        async with grpc.aio.insecure_channel(instance["grpc"]) as channel:
            try:
                return await GatewayClient(channel).set_service_mode(request)
            except grpc.aio.AioRpcError as error:
                raise Refused(f"{name} answered {error.code().name}: {error.details()}") from error
    raise refusal


async def modes(home: Home) -> list[operators_pb2.ServiceMode]:
    """Return the mode of each service as the bucket holds it."""
    found = []
    async with operator_bus(home) as bus:
        for service in SERVICES:
            last = await bus.last(subjects.MODES.name, subjects.service_mode(service.key))
            mode = operators_pb2.ServiceMode(service=service.key)
            with contextlib.suppress(DecodeError):
                mode.MergeFromString(last.data if last else b"")
            mode.service = service.key
            found.append(mode)
    return found


async def replicas(home: Home) -> dict[str, ops.GetStatusResponse | None]:
    """Return what each replica says of itself; None for one that does not answer."""
    keys = {service.key for service in SERVICES}
    found: dict[str, ops.GetStatusResponse | None] = {}
    for name, instance in _instances(home).items():
        if instance["service"] in keys:
            found[name] = await _status(instance["grpc"])
    return found


async def _status(address: str) -> ops.GetStatusResponse | None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = ops_rpc.OperationsServiceStub(channel)
        try:
            answer: ops.GetStatusResponse = await stub.GetStatus(
                ops.GetStatusRequest(), timeout=ANSWER_SECONDS
            )
        except grpc.aio.AioRpcError:
            return None
    return answer


async def until_told(
    home: Home, services: tuple[str, ...], *, drain: bool | None, maintenance: bool | None
) -> None:
    """Return when every replica of the services works in the mode; Refused after 30 s."""
    chosen = services or tuple(service.key for service in SERVICES)
    deadline = time.monotonic() + 30.0
    while True:
        told = await replicas(home)
        waits = [
            name
            for name, status in told.items()
            if _instances(home)[name]["service"] in chosen
            and (
                status is None
                or (drain is not None and status.draining is not drain)
                or (maintenance is not None and status.maintenance is not maintenance)
            )
        ]
        if not waits:
            return
        if time.monotonic() > deadline:
            raise Refused(f"{', '.join(waits)} did not take the mode within 30 s: `qt verify`")
        await asyncio.sleep(POLL_SECONDS)


async def until_idle(home: Home, seconds: float, tell: Callable[[str], None]) -> None:
    """Return when no entry is under way; Refused when one still is after so long."""
    deadline = time.monotonic() + seconds
    said = ""
    while True:
        waits = await _under_way(home)
        if not waits:
            return
        text = f"waiting for {len(waits)} entries: {', '.join(waits[:4])}"
        if text != said:
            tell(text)
            said = text
        if time.monotonic() > deadline:
            raise Refused(f"{text}, for {seconds:.0f} s now: `qt order list` shows them")
        await asyncio.sleep(POLL_SECONDS)


async def _under_way(home: Home) -> list[str]:
    """Ask a replica at its own address: while it drains no gateway leads to it."""
    entry = trading_pb2.OrderPurpose.ORDER_PURPOSE_ENTRY
    for instance in _instances(home).values():
        if instance["service"] != EXEC_RISK.key:
            continue
        async with grpc.aio.insecure_channel(instance["grpc"]) as channel:
            with contextlib.suppress(grpc.aio.AioRpcError):
                orders = await GatewayClient(channel).orders(500, open_only=True)
                return [order.client_order_id for order in orders if order.purpose == entry]
    raise Refused("no replica of exec_risk says which entries are under way: `qt verify`")


def _instances(home: Home) -> dict[str, dict[str, str]]:
    found = read_json(home.endpoints_file).get("instances", {})
    if not found:
        raise Refused(f"nothing runs in {home.root}: start it with `qt up`")
    return dict(found)
