"""Settings of analytics, page tokens, partitions."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from pydantic import ValidationError

from services.analytics.__main__ import describe
from services.analytics.ledger.partitions import month_of, next_month, partition_name
from services.analytics.settings import AnalyticsSettings
from services.analytics.views import BadToken, Cursor, read_token


def test_the_guides_names_and_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYTICS_BATCH_SIZE", "50")
    monkeypatch.setenv("HEALTH_CHECK_INTERVAL", "3")
    found = AnalyticsSettings(_env_file=None)
    assert (found.batch, found.health_check_interval) == (50, 3.0)
    assert found.analytics_flush_interval == 10.0
    assert found.heartbeat_timeout_seconds == 15.0
    assert found.expected == ("ai", "exec_risk", "analytics")


def test_the_first_policy_says_what_the_limits_of_the_services_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "SIGNAL_SHARE": "aggressive",
        "MAX_POSITIONS": "150",
        "MAX_LEVERAGE": "7",
        "MAX_SLIPPAGE_PERCENT": "8",
        "MAX_ORDERS_PER_MINUTE": "60",
        "HFOS_ENABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    settings = AnalyticsSettings(_env_file=None)
    policy = settings.first_policy
    assert settings.hfos_enabled and not policy.broken_rules()
    assert (policy.version, policy.signal_share, policy.max_positions) == (1, 0.1, 100)
    assert (policy.max_leverage, policy.max_orders_per_minute) == (7, 60)
    assert policy.max_slippage == Decimal("0.05")


@pytest.mark.parametrize(
    ("text", "reason"), [("", "names no service"), ("ai,nobody", "no process 'nobody'")]
)
def test_expected_services_must_exist(text: str, reason: str) -> None:
    """Incident 115: an empty list has a defined meaning: an error."""
    with pytest.raises(ValidationError, match=reason):
        AnalyticsSettings(_env_file=None, expected_services=text)


def test_settings_are_shown_without_passwords() -> None:
    shown = describe(
        AnalyticsSettings(
            _env_file=None, analytics_postgres_url="postgresql://analytics:secret@h/db"
        )
    )
    assert "secret" not in shown
    assert "ANALYTICS_POSTGRES_URL=postgresql://analytics:***@h/db" in shown


def test_a_page_token_leads_back_to_its_place() -> None:
    question = ("trades", "BTCUSDT", "")
    cursor = Cursor(datetime(2025, 5, 1, 12, tzinfo=UTC), "pos-1")
    assert read_token(cursor.token(question), question) == cursor
    assert read_token("", question) == Cursor()


@pytest.mark.parametrize("token", ["nonsense", "W10=", "e30=", "WyJhIiwgImIiXQ==", "\xff"])
def test_a_token_of_somebody_else_is_refused(token: str) -> None:
    with pytest.raises(BadToken):
        read_token(token, ("trades",))


def test_a_token_of_another_question_is_refused() -> None:
    token = Cursor(datetime(2025, 5, 1, tzinfo=UTC), "x").token(("trades", "A"))
    with pytest.raises(BadToken, match="another selection"):
        read_token(token, ("trades", "B"))


def test_partitions_are_named_by_the_month_of_market_time() -> None:
    december = datetime(2025, 12, 31, 23, 59, tzinfo=UTC)
    month = month_of(int(december.timestamp() * 1000))
    assert partition_name(month) == "events_2025_12"
    assert partition_name(next_month(month)) == "events_2026_01"
