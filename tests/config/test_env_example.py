"""The example of `.env`: every key in it is read by a service, every value is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.ai import settings as ai
from services.analytics import settings as analytics
from services.ctl import settings as ctl
from services.exec_risk import settings as exec_risk
from services.trainer import settings as trainer

EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"
KINDS: list[Any] = [
    ai.Settings,
    analytics.AnalyticsSettings,
    exec_risk.Settings,
    ctl.GatewaySettings,
    ctl.SystemSettings,
    trainer.TrainerSettings,
]


def keys() -> list[str]:
    lines = (line.strip() for line in EXAMPLE.read_text().splitlines())
    return [line.split("=")[0] for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("key", keys())
def test_every_key_is_read(key: str) -> None:
    assert any(key.lower() in kind.model_fields for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_is_taken(kind: Any) -> None:
    dsns = {name: "postgresql://x" for name in kind.model_fields if name.endswith("postgres_url")}
    kind(_env_file=EXAMPLE, **dsns)
