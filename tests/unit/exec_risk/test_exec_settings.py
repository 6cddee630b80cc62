"""Settings that contradict each other stop the start."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.exec_risk.settings import Settings

KEYS = {"binance_api_key": "k", "binance_api_secret": "hidden-value"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"binance_testnet": True}, "BINANCE_TESTNET"),
        ({"binance_testnet": False, "exchange_venue": "demo", **KEYS}, "BINANCE_TESTNET"),
        ({"exchange_venue": "live", **KEYS}, "LIVE_TRADING_CONFIRMED"),
        ({"exchange_venue": "demo"}, "BINANCE_API_KEY"),
        ({"exchange_venue": "demo", **KEYS, "binance_api_key": "a b"}, "BINANCE_API_KEY holds"),
        ({**KEYS, "binance_api_secret": "a\n"}, "BINANCE_API_SECRET holds"),
        ({"exchange_exit_share_percent": 95}, "exchange_exit_share_percent"),
        ({"timeframe": "1x"}, "timeframe"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], named: str) -> None:
    """Incidents 42 and 45: one switch for the venue; the key that contradicts is named."""
    with pytest.raises(ValidationError, match=named):
        Settings(**values)


def test_testnet_means_demo_and_keys_stay_hidden() -> None:
    """Incident 113: no key in what is shown."""
    settings = Settings(exchange_venue="demo", binance_testnet=True, **KEYS)  # type: ignore[arg-type]
    assert settings.policy().venue == "demo"
    assert "hidden-value" not in settings.model_dump_json()
