"""Alerts through a real Alertmanager with the shipped routes: told once, grouped, stored."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.catalog.processes import AI, EXEC_RISK
from services.ctl.servers.free import free_port as choose_port
from services.kit.bus.bus import Bus
from tests.integration.analytics.alert_channels import alerts, channels, heard, the_alert
from tests.integration.analytics.conftest import ready, running, settings_for, soon
from tests.support.alert_sinks import Letterbox, Mailbox
from tests.support.alertmanager import BINARY, HOW_TO_GET, alert, alertmanager, post
from tests.support.eventually import eventually

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(BINARY is None, reason=HOW_TO_GET),
]


async def test_alertmanager_tells_people_once_and_analytics_stores_what_it_was_told_by_others(
    ledger_dsn: str,
    nats_url: str,
    bus: Bus,
    free_port: int,
    tmp_path: Path,
    mail: Mailbox,
    web: Letterbox,
) -> None:
    address = f"127.0.0.1:{choose_port()}"
    given = channels(tmp_path, mail, web)
    async with alertmanager(tmp_path, mail, web, address) as url:
        given |= {
            "alertmanager_url": url,
            "alert_receiver_address": address,
            "alert_receiver_token_file": tmp_path / "token",
        }
        async with running(settings_for(ledger_dsn, nats_url, free_port, **given)) as process:
            await ready(process)
            down = f"[firing] critical ServiceDown {AI.name}"
            await eventually(lambda: mail.subjects == [down], 20)
            await eventually(lambda: len(web.bodies("/slack")) == 1, 10)
            assert "docs/runbook.md#servicedown" in mail.text(0)

            rule = partial(alert, "TargetDown", "critical", job=EXEC_RISK.name)
            await post(url, [rule()])
            found = await soon(partial(the_alert, free_port, "TargetDown"))
            assert found is not None
            assert (found.source, found.component) == ("alertmanager", EXEC_RISK.name)
            await post(url, [rule(over=True)])
            await soon(partial(the_alert, free_port, "TargetDown", resolved=True))

            async with heard(bus, AI.name):
                over = f"[resolved] critical ServiceDown {AI.name}"
                await eventually(lambda: over in mail.subjects, 25)
            assert mail.subjects.count(down) == mail.subjects.count(over) == 1
            own = [a for a in await alerts(free_port, resolved=True) if a.source != "alertmanager"]
            assert [a.alert_type for a in own].count("ServiceDown") == 1, "not stored a second time"
            assert web.bodies("/hook") == [], "Alertmanager alone sends"


async def test_one_message_for_a_group_and_none_for_what_follows_from_its_cause(
    tmp_path: Path, mail: Mailbox, web: Letterbox
) -> None:
    (tmp_path / "token").write_text("t0ken")
    async with alertmanager(tmp_path, mail, web, web.url.removeprefix("http://")) as url:
        await post(url, [alert("SystemDown", "critical", component="system")])
        await eventually(lambda: mail.subjects == ["[firing] critical SystemDown system"], 10)
        await post(
            url,
            [
                alert("ServiceDegraded", "warning", component=AI.name),
                alert("HighMemory", "warning", component=AI.name, instance="ai-1"),
                alert("HighMemory", "warning", component=AI.name, instance="ai-2"),
                alert("DiskFull", "low", component="system"),
            ],
        )
        await eventually(lambda: len(mail.messages) == 2, 10)
        assert mail.subjects[1] == f"[firing] warning HighMemory {AI.name}"
        assert mail.text(1).count("HighMemory holds") == 2

        def told() -> bool:
            hooks: list[Any] = web.bodies("/alertmanager")
            return {a["labels"]["alertname"] for h in hooks for a in h["alerts"]} >= {
                "SystemDown",
                "HighMemory",
                "DiskFull",
            }

        await eventually(told, 10)
        assert len(mail.messages) == 2, "neither what is low nor what follows from the cause"
