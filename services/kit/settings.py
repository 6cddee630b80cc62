"""Settings: one frozen object a process, read once from the environment and `.env`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


OptionalPath = Annotated[Path | None, BeforeValidator(lambda value: value or None)]
"""A file, or none when the value is empty."""


ENVIRONMENT = SettingsConfigDict(
    env_file=os.environ.get("QUANTUM_ENV_FILE", ".env"),
    extra="ignore",
    frozen=True,
    populate_by_name=True,
)
"""How settings are read: from the environment, else from `.env`."""


class ProcessSettings(BaseSettings):
    """What every process needs to know. The environment name is the field's, in upper case."""

    model_config = ENVIRONMENT

    service_instance: str = Field(default="", max_length=64)
    """Name of this replica, unique among the running ones; made from the process id when empty."""
    log_level: LogLevel = "INFO"
    log_format: Literal["json", "console"] = "json"
    grpc_address: str = "127.0.0.1:0"
    """Where gRPC listens, host:port; port 0 takes a free one."""
    metrics_address: str = "127.0.0.1:0"
    """Where `/metrics` listens, host:port."""
    nats_url: str = "nats://127.0.0.1:4222"
    nats_nkey_file: OptionalPath = None
    """Seed of this service's user of the bus, readable by nobody else; none: nobody in particular.
    It is read again at each connection."""
    nats_ca_file: OptionalPath = None
    """Authority of the server's certificate (PEM); set: TLS is required."""
    heartbeat_interval_seconds: float = Field(default=5.0, gt=0)
    drain_delay_seconds: float = Field(default=1.5, ge=0)
    """Time between leaving rotation and refusing calls: the proxy's health checks need it."""
    stop_grace_seconds: float = Field(default=5.0, ge=0)
    """Longest time that calls in flight get at a stop."""
    otel_exporter_otlp_endpoint: str = ""
    """OTLP/gRPC collector, for example http://127.0.0.1:4317; no export when empty."""
    build_id: str = "unknown"
    """Commit that runs."""
    drain_file: Path = Path("/tmp/drain_mode")  # noqa: S108 - the operations guide's own path
    """While this file exists the replica drains."""
    maintenance_file: Path = Path("/tmp/maintenance_mode")  # noqa: S108 - as above
    """While this file exists the process is in maintenance."""


S = TypeVar("S", bound=BaseSettings)


def load(kind: type[S]) -> S:
    """Read settings; on a bad value or file say which and why in one line, and exit with 2."""
    try:
        return kind()
    except ValidationError as error:
        for line in describe(error):
            sys.stderr.write(line + "\n")
    except (OSError, UnicodeDecodeError) as error:
        # its text may hold a piece of the file, so only its kind is told
        told = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        file = getattr(error, "filename", None) or kind.model_config.get("env_file")
        sys.stderr.write(f"settings file {file} cannot be read: {told}\n")
    raise SystemExit(2) from None


def describe(error: ValidationError) -> list[str]:
    """Return one line per bad setting: the key, what is wrong, never a secret's value."""
    lines = []
    for detail in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in detail["loc"]).upper()
        lines.append(f"setting {key or '(combination)'}: {detail['msg']}")
    return lines
