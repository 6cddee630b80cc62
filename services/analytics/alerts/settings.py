"""Settings of health, self-healing and alerts."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, Self

from pydantic import Field, model_validator

from services.analytics.core.alerting.kinds import RUNBOOK, Severity
from services.kit.settings import OptionalPath, ProcessSettings


class AlertSettings(ProcessSettings):
    """What watching and telling need to know."""

    gateway_probe_url: str = ""
    """An address of the gateway that is asked whether it answers; empty: it is not asked."""
    self_healing_enabled: bool = True
    """False: nothing is asked of supervisors."""
    auto_restart_enabled: bool = True
    """False: analytics asks for no restart; supervisors still start again what dies or hangs."""
    recovery_cooldown_seconds: float = Field(default=60.0, gt=0)
    """Least time between two restarts of a replica, asked or not."""
    recovery_limit: int = Field(default=3, ge=1)
    """Most restarts that are asked for one replica within RECOVERY_WINDOW_SECONDS."""
    recovery_window_seconds: float = Field(default=900.0, gt=0)
    stuck_seconds: float = Field(default=20.0, gt=0)
    """Messages wait and none is handled for so long: the consumer is stuck."""
    market_still_seconds: float = Field(default=300.0, gt=0)
    """No candle has closed for so long."""
    memory_threshold_percent: float = Field(default=85.0, gt=0, le=100)
    """Of the machine's memory, held by one process."""
    large_loss_usd: Decimal = Field(default=Decimal(1000), gt=0)
    """A UTC day's net loss from which it is an alert."""
    no_trades_signals: int = Field(default=10, ge=1)
    """So many signals in an hour of market time without one fill are an alert."""
    alert_send_from: Severity = Severity.MEDIUM
    """Least severity of which people are told; all are stored."""
    alert_runbook_url: str = RUNBOOK
    """Where the runbook is, as messages name it."""
    alert_email_server: str = ""
    """host:port of the SMTP server; empty: no e-mail."""
    alert_email_from: str = ""
    alert_email_to: str = ""
    """Addresses, separated by commas."""
    alert_email_security: Literal["starttls", "tls", "none"] = "starttls"
    alert_email_user: str = ""
    alert_email_password_file: OptionalPath = None
    alert_slack_url_file: OptionalPath = None
    """File with the address of an incoming webhook; none: no Slack."""
    alert_telegram_token_file: OptionalPath = None
    """File with the bot's token; none: no Telegram."""
    alert_telegram_chat: str = ""
    alert_telegram_api: str = "https://api.telegram.org"
    alert_webhook_url: str = ""
    """Takes messages as JSON; empty: no webhook."""
    alert_webhook_token_file: OptionalPath = None
    alertmanager_url: str = ""
    """Alertmanager, which then alone sends; the others only when it takes nothing."""
    alert_receiver_address: str = ""
    """host:port where Alertmanager's webhook is taken; empty: it is not."""
    alert_receiver_token_file: OptionalPath = None
    """Token that Alertmanager shows there."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs = {
            "alert_email_server": ("alert_email_from", "alert_email_to"),
            "alert_telegram_token_file": ("alert_telegram_chat",),
            "alert_receiver_address": ("alert_receiver_token_file",),
        }
        for name, others in needs.items():
            for other in others:
                if getattr(self, name) and not getattr(self, other):
                    raise ValueError(f"{name.upper()} needs {other.upper()}")
        for name in ("alert_email_server", "alert_receiver_address"):
            value = getattr(self, name)
            if value and not value.rpartition(":")[2].isdigit():
                raise ValueError(f"{name.upper()}={value}: say host:port")
        return self
