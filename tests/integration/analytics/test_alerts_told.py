"""Alerts over real servers: stored, told once through every channel, taken, resolved."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from quantum.analytics.v1 import alerts_pb2 as pb
from quantum.analytics.v1 import analytics_service_pb2 as service_pb
from quantum.ops.v1 import operations_service_pb2 as ops

from services.analytics.alerts.receiver import PATH
from services.analytics.app import MIGRATIONS, SCHEMA
from services.analytics.health import recovery
from services.catalog import subjects
from services.catalog.events import RECOVERY_DONE
from services.catalog.processes import AI, ANALYTICS, EXEC_RISK
from services.catalog.subjects import STREAMS
from services.ctl.servers.free import free_port as choose_port
from services.ctl.servers.postgres import PostgresServer
from services.kit.bus.bus import Bus
from services.kit.postgres.db import Database
from services.kit.postgres.migrate import migrate
from tests.integration.analytics.alert_channels import alerts, asking, channels, heard, the_alert
from tests.integration.analytics.conftest import ready, running, settings_for, soon
from tests.support.alert_sinks import Letterbox, Mailbox
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(90)

DOWN = "[SEV-2 CRITICAL] ServiceDown: ai-service"
OVER = "[resolved] ServiceDown: ai-service"


async def test_an_alert_is_told_once_through_every_channel_taken_and_resolved(
    ledger_dsn: str,
    nats_url: str,
    bus: Bus,
    database: Database,
    free_port: int,
    tmp_path: Path,
    mail: Mailbox,
    web: Letterbox,
) -> None:
    web.refuse = 2
    given = channels(tmp_path, mail, web)
    async with running(settings_for(ledger_dsn, nats_url, free_port, **given)) as process:
        await ready(process)
        raised = await soon(partial(the_alert, free_port, "ServiceDown"))
        assert raised is not None
        assert (raised.severity, raised.level, raised.response_minutes) == ("CRITICAL", "SEV-2", 30)
        assert raised.runbook == "docs/runbook.md#servicedown"

        async def told() -> bool:
            current = await the_alert(free_port, "ServiceDown")
            sent = {d.channel: d for d in current.deliveries} if current else {}
            names = {"email", "slack", "telegram", "webhook"}
            return sent.keys() == names and all(d.status == "delivered" for d in sent.values())

        await soon(told, 20)
        assert mail.subjects == [DOWN]
        assert mail.messages[0]["To"] == "ops@example.com, desk@example.com"
        assert "Answer within 30 min." in str(mail.messages[0].get_payload())
        slack: Any = web.bodies("/slack")
        assert len(slack) == 1 and slack[0]["text"].startswith(f"*{DOWN}*")
        telegram: Any = web.bodies("/bott0ken/sendMessage")
        assert len(telegram) == 1 and telegram[0]["chat_id"] == "42"
        hook: Any = web.bodies("/hook")
        assert [(b["state"], b["level"]) for b in hook] == [("raised", "SEV-2")]

        async with asking(free_port) as stub:
            taken = await stub.AcknowledgeAlert(
                pb.AcknowledgeAlertRequest(alert_id=raised.alert_id, by="kim", note="looking")
            )
            again = await stub.AcknowledgeAlert(
                pb.AcknowledgeAlertRequest(alert_id=raised.alert_id, by="bob")
            )
            assert (taken.alert.acknowledged_by, taken.alert.note) == ("kim", "looking")
            assert again.alert.acknowledged_by == "kim", "who took it first stays"
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.AcknowledgeAlert(pb.AcknowledgeAlertRequest(alert_id="0" * 32, by="x"))
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND

            async def shown() -> bool:
                health = await stub.GetHealth(service_pb.GetHealthRequest())
                return [(a.alert_id, a.acknowledged) for a in health.alerts] == [
                    (raised.alert_id, True)
                ]

            await soon(shown)

        async with heard(bus, AI.name):
            over = await soon(partial(the_alert, free_port, "ServiceDown", resolved=True), 25)
            assert over is not None and over.alert_id == raised.alert_id
            await eventually(lambda: mail.subjects == [DOWN, OVER], 10)
            await eventually(lambda: len(web.bodies("/hook")) == 2, 10)
            assert mail.messages[1]["In-Reply-To"] == mail.messages[0]["Message-ID"]

        async def facts() -> bool:
            rows = await database.pool.fetch(
                "select data from events where type = 'system.alert' and data::text like $1",
                f"%{raised.alert_id}%",
            )
            return len(rows) == 2

        await soon(facts)


async def test_a_restart_of_analytics_tells_nothing_again(
    ledger_dsn: str,
    nats_url: str,
    bus: Bus,
    free_port: int,
    tmp_path: Path,
    mail: Mailbox,
    web: Letterbox,
) -> None:
    given = channels(tmp_path, mail, web)
    for _ in range(2):
        async with running(settings_for(ledger_dsn, nats_url, free_port, **given)) as process:
            await ready(process)
            await soon(partial(the_alert, free_port, "ServiceDown"))
            await eventually(lambda: mail.subjects[:1] == [DOWN], 10)
            await asyncio.sleep(1.5)
    assert Counter(mail.subjects)[DOWN] == 1
    hook: list[Any] = web.bodies("/hook")
    assert [b["alert_type"] for b in hook].count("ServiceDown") == 1


async def test_somebody_is_told_that_postgres_is_away(
    server_home: Path,
    nats_url: str,
    free_port: int,
    tmp_path: Path,
    mail: Mailbox,
    web: Letterbox,
) -> None:
    """The store of alerts is what is gone: told from memory, written when it is back."""
    own = PostgresServer(directory=server_home / "alerts-outage")
    await own.launch()
    bus = await Bus.connect(nats_url, "test")
    await bus.declare(STREAMS)
    try:
        dsn = own.dsn()
        await migrate(dsn, SCHEMA, MIGRATIONS)
        given = channels(tmp_path, mail, web) | {"expected_services": "analytics"}
        async with running(settings_for(dsn, nats_url, free_port, **given)) as process:
            await ready(process)
            await soon(partial(_stored_nothing, free_port))
            own.kill()
            down = "[SEV-2 CRITICAL] PartDown: postgres"
            await eventually(lambda: down in mail.subjects, 15)
            await own.launch()
            await eventually(lambda: "[resolved] PartDown: postgres" in mail.subjects, 40)

            async def written() -> bool:
                found = await the_alert(free_port, "PartDown", resolved=True)
                states = {d.state for d in found.deliveries} if found else set()
                return states == {"raised", "resolved"}

            await soon(written, 20)
            assert Counter(mail.subjects)[down] == 1
    finally:
        await bus.close()
        await own.stop()


async def _stored_nothing(port: int) -> bool:
    return await alerts(port) == []


async def test_where_alertmanager_runs_it_alone_sends_and_what_it_tells_is_stored(
    ledger_dsn: str,
    nats_url: str,
    bus: Bus,
    free_port: int,
    tmp_path: Path,
    mail: Mailbox,
    web: Letterbox,
) -> None:
    address = f"127.0.0.1:{choose_port()}"
    given = channels(tmp_path, mail, web) | {
        "alertmanager_url": web.url,
        "alert_receiver_address": address,
        "alert_receiver_token_file": tmp_path / "token",
    }
    async with running(settings_for(ledger_dsn, nats_url, free_port, **given)) as process:
        await ready(process)
        await eventually(lambda: web.bodies("/api/v2/alerts"), 15)
        posted: Any = web.bodies("/api/v2/alerts")[0]
        assert posted[0]["labels"]["alertname"] == "ServiceDown"
        assert posted[0]["labels"]["severity"] == "critical"
        assert posted[0]["startsAt"] < posted[0]["endsAt"]

        foreign = _from_alertmanager("TargetDown", "firing")
        mine = {**foreign, "labels": {**posted[0]["labels"]}}
        assert await _tell(address, "wrong", [foreign]) == 401
        assert await _tell(address, "t0ken", ["nonsense"]) == 400
        assert await _tell(address, "t0ken", [foreign, mine]) == 200
        assert await _tell(address, "t0ken", [foreign]) == 200
        stored = [a for a in await alerts(free_port) if a.source == "alertmanager"]
        assert [(a.alert_type, a.severity, a.component) for a in stored] == [
            ("TargetDown", "CRITICAL", EXEC_RISK.name)
        ]

        async def shown() -> bool:
            async with asking(free_port) as stub:
                health = await stub.GetHealth(service_pb.GetHealthRequest())
            return "TargetDown" in {a.type for a in health.alerts}

        await soon(shown)
        assert await _tell(address, "t0ken", [_from_alertmanager("TargetDown", "resolved")]) == 200
        assert await the_alert(free_port, "TargetDown") is None
        assert mail.messages == [] and web.bodies("/hook") == [], "Alertmanager alone sends"


def _from_alertmanager(name: str, status: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": name, "severity": "critical", "job": EXEC_RISK.name},
        "annotations": {"summary": "Service exec-risk-service is down"},
        "startsAt": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
    }


async def _tell(address: str, token: str, told: list[Any]) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"http://{address}{PATH}", json={"version": "4", "alerts": told}) as answer,
    ):
        return answer.status


async def test_its_own_restart_is_told_though_the_one_before_still_holds_the_lease(
    ledger_dsn: str,
    nats_url: str,
    bus: Bus,
    database: Database,
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who was killed and came back at once waits for its own lease longer than a restart shows."""
    monkeypatch.setattr(recovery, "TOLD_SECONDS", 0.5)
    await database.pool.execute(
        "insert into lease (resource, token, owner, expires)"
        " values ('health', 1, 'killed', clock_timestamp() + interval '5 s')"
    )
    told = ops.RecoveryDone(
        recovery_id="restarted",
        action="RESTART",
        service_name=ANALYTICS.name,
        instance="analytics",
        done=True,
        reason="analytics was killed by SIGKILL",
    )
    told.time.GetCurrentTime()
    await bus.publish(
        subjects.recovery_done(ANALYTICS.name),
        told.SerializeToString(),
        message_id="done-restarted",
        headers={subjects.HEADER_TYPE: RECOVERY_DONE},
    )
    async with running(settings_for(ledger_dsn, nats_url, free_port)) as process:
        await ready(process)
        shown = await soon(partial(the_alert, free_port, "ServiceRestarted"))
    assert shown is not None and "killed by SIGKILL" in shown.message
