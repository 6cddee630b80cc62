"""A real Alertmanager with the configuration that is shipped, its addresses those of sinks."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from services.analytics.alerts.receiver import PATH
from services.ctl.servers.free import LOOPBACK, free_port
from tests.support.alert_sinks import Letterbox, Mailbox
from tests.support.eventually import eventually

BINARY = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
HOW_TO_GET = "alertmanager is not installed (Debian: prometheus-alertmanager)"
SHIPPED = (
    Path(__file__).resolve().parents[2] / "mesh" / "observability" / "alertmanager.channels.yml"
)


def configuration(folder: Path, mail: Mailbox, web: Letterbox, receiver: str) -> Path:
    """Write the shipped configuration with other addresses and shorter waits; return its file."""
    made = yaml.safe_load(SHIPPED.read_text())
    made["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    receivers = {r["name"]: r for r in made["receivers"]}
    (email,) = receivers["people"]["email_configs"]
    for secret in ("auth_username", "auth_password_file"):
        del email[secret]
    email |= {"smarthost": mail.address, "require_tls": False}
    (folder / "slack").write_text(f"{web.url}/slack")
    receivers["people"]["slack_configs"][0]["api_url_file"] = str(folder / "slack")
    (hook,) = receivers["analytics"]["webhook_configs"]
    hook["url"] = f"http://{receiver}{PATH}"
    hook["http_config"]["authorization"]["credentials_file"] = str(folder / "token")
    file = folder / "alertmanager.yml"
    file.write_text(yaml.safe_dump(made))
    return file


@asynccontextmanager
async def alertmanager(
    folder: Path, mail: Mailbox, web: Letterbox, receiver: str
) -> AsyncIterator[str]:
    """Run one on the loopback and return its address; `folder` holds the file `token`."""
    assert BINARY is not None, HOW_TO_GET
    url = f"http://{LOOPBACK}:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        BINARY,
        f"--config.file={configuration(folder, mail, web, receiver)}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--cluster.listen-address=",
        "--log.level=warn",
        cwd=folder,
    )
    try:
        await eventually(lambda: _ready(url), 20)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def post(url: str, alerts: Sequence[dict[str, Any]]) -> None:
    """Tell it what holds, as Prometheus does."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/api/v2/alerts", json=list(alerts)) as told,
    ):
        assert told.status == 200, await told.text()


def alert(name: str, severity: str, *, over: bool = False, **labels: str) -> dict[str, Any]:
    """Return an alert that began a while ago, and has ended when it is `over`."""
    now = datetime.now(UTC)
    return {
        "labels": {"alertname": name, "severity": severity, **labels},
        "annotations": {"summary": f"{name} holds"},
        "startsAt": now.replace(microsecond=0, second=0, minute=0).isoformat(),
        "endsAt": (now if over else now.replace(year=now.year + 1)).isoformat(),
    }


async def _ready(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/-/ready") as told:
            return told.status == 200
    except aiohttp.ClientError:
        return False
