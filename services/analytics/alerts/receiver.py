"""Takes what Alertmanager tells by webhook, so that its alerts are stored with the others."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from services.analytics.alerts.channels import MADE_BY
from services.analytics.alerts.store import AlertStore
from services.analytics.core.alerting.book import OpenAlert, alert_id
from services.analytics.core.alerting.kinds import Severity, kind_of
from services.analytics.core.alerts import Alert
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import TRANSIENT

log = get_logger(__name__)

PATH = "/alertmanager"
_LARGEST_BODY = 1 << 20
_SEVERITIES = {
    "critical": Severity.CRITICAL,
    "error": Severity.HIGH,
    "high": Severity.HIGH,
    "warning": Severity.MEDIUM,
    "medium": Severity.MEDIUM,
}
_WHO = ("component", "service", "job", "instance")
"""Labels that may say what an alert is about, the best first."""


class Receiver:
    """The HTTP endpoint of one replica; any replica may be told."""

    def __init__(self, *, store: AlertStore, clock: Clock, address: str, token: Path) -> None:
        self._store = store
        self._clock = clock
        self._address = address
        self._token = token
        self.port = 0
        """Port in use while it runs."""

    async def run(self) -> None:
        """Listen until cancelled."""
        application = web.Application(client_max_size=_LARGEST_BODY)
        application.router.add_post(PATH, self._take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        host, _, port = self._address.rpartition(":")
        try:
            await web.TCPSite(runner, host, int(port)).start()
            self.port = int(runner.addresses[0][1])
            while True:
                await self._clock.sleep(3600.0)
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        offered = request.headers.get("Authorization", "")
        if not self._may(offered):
            return web.json_response({"error": "the token is missing or wrong"}, status=401)
        try:
            told = read(await request.json())
        except (ValueError, TypeError, AttributeError) as error:
            return web.json_response({"error": f"not what Alertmanager tells: {error}"}, status=400)
        now = self._clock.now().timestamp()
        try:
            for entry, over in told:
                if over:
                    await self._store.resolve_foreign(entry, now)
                else:
                    await self._store.raise_foreign(entry, now)
        except TRANSIENT as error:
            # Alertmanager tells it again
            log.warning("told_alerts_not_stored", error=str(error))
            return web.json_response({"error": "postgres does not answer"}, status=503)
        return web.json_response({"stored": len(told)})

    def _may(self, offered: str) -> bool:
        token = ""
        with suppress(OSError, UnicodeDecodeError):
            token = self._token.read_text().strip()
        return bool(token) and hmac.compare_digest(offered.encode(), f"Bearer {token}".encode())


def read(body: Any) -> list[tuple[OpenAlert, bool]]:
    """Return the alerts of a message and whether each is over; those that we posted are left out.

    ValueError, TypeError or AttributeError: it is no message of Alertmanager.
    """
    found = []
    for told in body["alerts"]:
        labels, annotations = dict(told["labels"]), dict(told.get("annotations", {}))
        if labels.get("origin") == MADE_BY:
            continue
        since = datetime.fromisoformat(told["startsAt"]).astimezone(UTC).timestamp()
        alert = _alert(labels, annotations, since)
        entry = OpenAlert(alert_id(alert.key, since), alert, told=True)
        found.append((entry, told["status"] == "resolved"))
    return found


def _alert(labels: Mapping[str, str], annotations: Mapping[str, str], since: float) -> Alert:
    name = labels.get("alertname", "")
    severity = _SEVERITIES.get(labels.get("severity", "").lower(), Severity.LOW)
    who = "/".join(labels[key] for key in _WHO if labels.get(key)) or "system"
    text = annotations.get("summary") or annotations.get("description") or kind_of(name).means
    return Alert(name or "RuleUnreadable", severity, text, who, since)
