"""Settings that contradict each other stop the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from services.exec_risk.core.risk.risk_policy import RiskPolicy
from services.exec_risk.risk_settings import RiskSettings
from services.exec_risk.settings import Settings
from services.kit.settings import ProcessSettings, describe

HALVED = {
    "cautious_drawdown_percent",
    "cautious_losses_in_a_row",
    "max_net_exposure_percent",
    "warn_funding_percent",
}
"""What twice as much would contradict."""
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
        ({"kelly_min_trades": 50, "kelly_window": 40}, "KELLY_MIN_TRADES"),
        ({"cautious_drawdown_percent": 9}, "CAUTIOUS_DRAWDOWN_PERCENT"),
        ({"cautious_losses_in_a_row": 9}, "CAUTIOUS_LOSSES_IN_A_ROW"),
        ({"warn_funding_percent": 1}, "WARN_FUNDING_PERCENT"),
        ({"correlation_clusters": "a=BTCUSDT;b=BTCUSDT"}, "BTCUSDT is in a and in b"),
        ({"correlation_clusters": "a=BTCUSDT,"}, "name=SYMBOL"),
        ({"correlation_clusters": ";"}, "name=SYMBOL"),
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


def test_keys_may_lie_in_files(tmp_path: Path) -> None:
    files = {}
    for name, text in (("binance_api_key", "k\n"), ("binance_api_secret", "hidden-value")):
        files[f"{name}_file"] = tmp_path / name
        files[f"{name}_file"].write_text(text)
    settings = Settings(_env_file=None, exchange_venue="demo", **files)  # type: ignore[arg-type]
    assert (settings.exchange().api_key, settings.exchange().api_secret) == ("k", "hidden-value")
    assert "hidden-value" not in settings.model_dump_json()
    with pytest.raises(ValidationError, match="set one of them"):
        Settings(_env_file=None, binance_api_key="other", **files)  # type: ignore[arg-type]
    (tmp_path / "binance_api_key").write_bytes(b"\xff\xfehidden")
    with pytest.raises(ValidationError, match="no text in UTF-8") as told:
        Settings(_env_file=None, **files)  # type: ignore[arg-type]
    assert "hidden" not in "".join(describe(told.value))
    (tmp_path / "binance_api_key").unlink()
    with pytest.raises(ValidationError, match=r"BINANCE_API_KEY_FILE=.* cannot be read: No such"):
        Settings(_env_file=None, **files)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a b", "a\nb", "a\n\n", ""])
def test_a_file_with_something_else_in_it_stops_the_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "secret"
    file.write_text(text)
    with pytest.raises(ValidationError, match="BINANCE_API_SECRET"):
        Settings(
            _env_file=None,
            exchange_venue="demo",
            binance_api_key=SecretStr("k"),
            binance_api_secret_file=file,
        )


def test_risk_settings_without_values_are_the_cores_defaults() -> None:
    """Incident 115: an empty table of clusters means the built-in one, never an empty one."""
    assert Settings(_env_file=None, correlation_clusters=" ").risk() == RiskPolicy()
    assert Settings(_env_file=None, correlation_clusters="x=AUSDT, BUSDT").risk().clusters == {
        "AUSDT": "x",
        "BUSDT": "x",
    }


@pytest.mark.parametrize("name", RiskSettings.model_fields.keys() - ProcessSettings.model_fields)
def test_every_risk_setting_reaches_the_core(name: str) -> None:
    """Limits that are configured are enforced: no setting is read and dropped."""
    default = Settings(_env_file=None)
    known = getattr(default, name)
    moved = (
        "x=AUSDT"
        if isinstance(known, str)
        else type(known)(known / 2)
        if name in HALVED
        else known * 2
    )
    values: dict[str, Any] = {name: moved}
    assert Settings(_env_file=None, **values).policy().risk != default.policy().risk
