"""The parts of telling people, made from settings."""

from __future__ import annotations

from services.analytics.alerts.channels import (
    Alertmanager,
    Channel,
    Email,
    Slack,
    Telegram,
    Webhook,
)
from services.analytics.alerts.settings import AlertSettings


def channels(settings: AlertSettings) -> list[Channel]:
    """Return the channels that are set up."""
    found: list[Channel] = []
    if settings.alertmanager_url:
        found.append(Alertmanager(settings.alertmanager_url))
    if settings.alert_email_server:
        found.append(
            Email(
                server=settings.alert_email_server,
                sender=settings.alert_email_from,
                recipients=tuple(
                    a.strip() for a in settings.alert_email_to.split(",") if a.strip()
                ),
                security=settings.alert_email_security,
                user=settings.alert_email_user,
                password_file=settings.alert_email_password_file,
            )
        )
    if settings.alert_slack_url_file:
        found.append(Slack(settings.alert_slack_url_file))
    if settings.alert_telegram_token_file:
        found.append(
            Telegram(
                settings.alert_telegram_token_file,
                settings.alert_telegram_chat,
                settings.alert_telegram_api.rstrip("/"),
            )
        )
    if settings.alert_webhook_url:
        found.append(Webhook(settings.alert_webhook_url, settings.alert_webhook_token_file))
    return found


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
