"""Settings of analytics."""

from __future__ import annotations

from pydantic import Field, field_validator

from services.analytics.alerts.settings import AlertSettings
from services.analytics.fund.settings import FundSettings
from services.analytics.learning.settings import LearningSettings
from services.catalog.processes import process
from services.kit.postgres.login import Login
from services.kit.settings import OptionalPath

_BACKLOG = 16
"""A batch is this much larger when the sink is behind."""


class AnalyticsSettings(AlertSettings, FundSettings, LearningSettings):
    """What analytics needs to know."""

    analytics_postgres_url: str = "postgresql://analytics@127.0.0.1:5432/quantum_trader"
    """DSN with the role that owns the schema `analytics`."""
    analytics_postgres_password_file: OptionalPath = None
    """Password of that role; read again for each connection."""
    postgres_ca_file: OptionalPath = None
    """Authority of the server's certificate (PEM); set: TLS is required."""
    analytics_batch_size: int = Field(default=100, ge=1, le=10_000)
    """Events that one transaction writes, more when more wait; what has come is written at once."""
    analytics_flush_interval: float = Field(default=10.0, gt=0)
    """Seconds that a batch may wait to be written before the service counts as degraded."""
    analytics_candle_days: int = Field(default=90, ge=1)
    """Days of market time for which candles are kept; older trades tell no MAE and MFE."""
    event_bus_batch_size: int = Field(default=100, ge=1, le=10_000)
    """Most messages that are asked of the bus at once."""
    event_bus_block_ms: int = Field(default=1000, ge=1, le=60_000)
    """Longest wait between two looks whether the sink still moves."""
    health_check_interval: float = Field(default=5.0, gt=0, le=60)
    """Seconds between two health checks."""
    heartbeat_timeout_seconds: float = Field(default=15.0, gt=0)
    """A replica that is silent for longer is down."""
    mesh_target: str = ""
    """The sidecar's door for own calls, host:port or `unix:/path`; without one, nobody is asked."""
    expected_services: str = "ai,exec_risk,analytics"
    """Services that must run, by key or name; one that never comes up is down."""

    @field_validator("expected_services")
    @classmethod
    def _known_services(cls, text: str) -> str:
        keys = _keys(text)
        if not keys:
            raise ValueError("names no service; name analytics at least")
        for key in keys:
            try:
                process(key)
            except KeyError as error:
                raise ValueError(str(error.args[0])) from error
        return text

    @property
    def database(self) -> Login:
        """Where the database is and how to log in."""
        return Login(
            self.analytics_postgres_url,
            self.analytics_postgres_password_file,
            self.postgres_ca_file,
        )

    @property
    def expected(self) -> tuple[str, ...]:
        """Keys of the services that must run."""
        return _keys(self.expected_services)

    @property
    def batch(self) -> int:
        """Most messages in one batch: the smaller of the two bounds."""
        return min(self.analytics_batch_size, self.event_bus_batch_size)

    @property
    def backlog_batch(self) -> int:
        """Most events that one transaction writes when that many wait: a commit costs the same."""
        return self.batch * _BACKLOG


def _keys(text: str) -> tuple[str, ...]:
    return tuple(key.strip() for key in text.split(",") if key.strip())
