"""An analytics service that tells through every channel, and what is asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from quantum.analytics.v1 import alerts_pb2 as pb
from quantum.analytics.v1 import analytics_service_pb2_grpc as rpc

from services.kit.bus.bus import Bus
from tests.integration.analytics.test_health_of_parts import beat
from tests.support.alert_sinks import Letterbox, Mailbox


def channels(tmp_path: Path, mail: Mailbox, web: Letterbox) -> dict[str, object]:
    """Settings of all channels, their secrets in files."""
    (tmp_path / "slack").write_text(f"{web.url}/slack\n")
    (tmp_path / "token").write_text("t0ken\n")
    return {
        "alert_email_server": mail.address,
        "alert_email_from": "quantum@example.com",
        "alert_email_to": "ops@example.com, desk@example.com",
        "alert_email_security": "none",
        "alert_slack_url_file": tmp_path / "slack",
        "alert_telegram_token_file": tmp_path / "token",
        "alert_telegram_chat": "42",
        "alert_telegram_api": web.url,
        "alert_webhook_url": f"{web.url}/hook",
        "alert_webhook_token_file": tmp_path / "token",
        "expected_services": "ai,analytics",
    }


@asynccontextmanager
async def asking(port: int) -> AsyncIterator[rpc.AnalyticsServiceStub]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield rpc.AnalyticsServiceStub(channel)


async def alerts(port: int, *, resolved: bool = False) -> list[pb.StoredAlert]:
    async with asking(port) as stub:
        asked = pb.ListAlertsRequest(include_resolved=resolved)
        return list((await stub.ListAlerts(asked, timeout=5, wait_for_ready=True)).alerts)


async def the_alert(port: int, kind: str, *, resolved: bool = False) -> pb.StoredAlert | None:
    found = [a for a in await alerts(port, resolved=resolved) if a.alert_type == kind]
    return next((a for a in found if a.resolved == resolved), None)


async def beats(bus: Bus, *services: str) -> None:
    """Heartbeats until it is cancelled."""
    while True:
        for service in services:
            await beat(bus, service)
        await asyncio.sleep(0.3)


@asynccontextmanager
async def heard(bus: Bus, *services: str) -> AsyncIterator[None]:
    """Keep services alive for the time of a block."""
    task = asyncio.create_task(beats(bus, *services))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
