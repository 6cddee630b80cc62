"""Where messages about alerts go: e-mail, Slack, Telegram, a webhook, Alertmanager."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from services.analytics.core.alerting.message import Notice, State

SEND_SECONDS = 10.0
STANDS_SECONDS = 300.0
"""What is not told again within this time is resolved by Alertmanager itself."""
MADE_BY = "quantum-trader-analytics"
"""Label `origin` of alerts that analytics posts: it knows them again when they come back."""


class NotSent(Exception):
    """A message was not taken; the text says why, and holds no secret."""


class Channel(Protocol):
    """One way to people."""

    @property
    def name(self) -> str:
        """Name in `alert_deliveries` and in settings."""
        ...

    async def send(self, notice: Notice) -> None:
        """Send one message; NotSent when it was not taken."""
        ...


@dataclass(frozen=True, slots=True)
class Email:
    """Through an SMTP server."""

    server: str
    """host:port."""
    sender: str
    recipients: tuple[str, ...]
    security: str
    """starttls, tls or none."""
    user: str = ""
    password_file: Path | None = None
    name: str = "email"

    async def send(self, notice: Notice) -> None:
        """Send one message from a thread: smtplib blocks."""
        try:
            await asyncio.to_thread(self._deliver, self._message(notice))
        except (OSError, smtplib.SMTPException) as error:
            raise NotSent(f"{self.server}: {_told(error)}") from error

    def _message(self, notice: Notice) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = notice.title
        message["From"] = self.sender
        message["To"] = ", ".join(self.recipients)
        domain = self.sender.rpartition("@")[2] or "localhost"
        # the same message again has the same id, so that a mail program shows it once
        message["Message-ID"] = f"<{notice.alert_id}.{notice.state}@{domain}>"
        if notice.state is State.RESOLVED:
            message["In-Reply-To"] = f"<{notice.alert_id}.{State.RAISED}@{domain}>"
        message.set_content(notice.text + "\n")
        return message

    def _deliver(self, message: EmailMessage) -> None:
        host, _, port = self.server.rpartition(":")
        context = ssl.create_default_context()
        if self.security == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                host, int(port), timeout=SEND_SECONDS, context=context
            )
        else:
            connection = smtplib.SMTP(host, int(port), timeout=SEND_SECONDS)
        with connection:
            if self.security == "starttls":
                connection.starttls(context=context)
            if self.user:
                connection.login(self.user, _secret(self.password_file))
            connection.send_message(message)


@dataclass(frozen=True, slots=True)
class Slack:
    """An incoming webhook of Slack, whose address is the secret."""

    url_file: Path
    name: str = "slack"

    async def send(self, notice: Notice) -> None:
        """Send one message."""
        await _post(_secret(self.url_file), {"text": f"*{notice.title}*\n{notice.text}"})


@dataclass(frozen=True, slots=True)
class Telegram:
    """A bot of Telegram."""

    token_file: Path
    chat: str
    api: str = "https://api.telegram.org"
    name: str = "telegram"

    async def send(self, notice: Notice) -> None:
        """Send one message."""
        url = f"{self.api}/bot{_secret(self.token_file)}/sendMessage"
        await _post(url, {"chat_id": self.chat, "text": f"{notice.title}\n{notice.text}"})


@dataclass(frozen=True, slots=True)
class Webhook:
    """Any HTTP address that takes JSON."""

    url: str
    token_file: Path | None = None
    name: str = "webhook"

    async def send(self, notice: Notice) -> None:
        """Send one message."""
        body = {
            "alert_id": notice.alert_id,
            "state": notice.state.value,
            "alert_type": notice.alert_type,
            "severity": notice.severity.value,
            "level": f"SEV-{notice.level}",
            "response_minutes": notice.response_minutes,
            "component": notice.component,
            "message": notice.message,
            "since": _iso(notice.since),
            "time": _iso(notice.time),
            "runbook": notice.runbook,
        }
        headers = {"Idempotency-Key": f"{notice.alert_id}.{notice.state}"}
        if self.token_file is not None:
            headers["Authorization"] = f"Bearer {_secret(self.token_file)}"
        await _post(self.url, body, headers)


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """Alertmanager, which then alone tells people."""

    url: str
    name: str = "alertmanager"

    async def send(self, notice: Notice) -> None:
        """Tell that an alert holds, or that its cause is gone."""
        await _post(f"{self.url.rstrip('/')}/api/v2/alerts", [posted(notice)])


def posted(notice: Notice) -> dict[str, Any]:
    """Return an alert as Alertmanager takes it; it ends by itself unless it is told again."""
    over = notice.state is State.RESOLVED
    end = notice.time if over else notice.time + STANDS_SECONDS
    return {
        "labels": {
            "alertname": notice.alert_type,
            "severity": notice.severity.value.lower(),
            "level": f"SEV-{notice.level}",
            "component": notice.component,
            "alert_id": notice.alert_id,
            "origin": MADE_BY,
        },
        "annotations": {"summary": notice.message, "runbook_url": notice.runbook},
        "startsAt": _iso(notice.since),
        "endsAt": _iso(end),
    }


async def _post(url: str, body: Any, headers: Mapping[str, str] | None = None) -> None:
    limit = aiohttp.ClientTimeout(total=SEND_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, headers=headers) as session,
            session.post(url, json=body, allow_redirects=False) as answer,
        ):
            if not 200 <= answer.status < 300:
                raise NotSent(f"answered {answer.status}")
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        # the address may be the secret, and errors often hold it
        raise NotSent(type(error).__name__) from error


def _secret(file: Path | None) -> str:
    if file is None:
        raise NotSent("no file with the secret is named")
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotSent(f"{file} cannot be read") from error


def _told(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{type(error).__name__} {error.smtp_code}"
    return type(error).__name__


def _iso(seconds: float) -> str:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
