"""`connected` is told only on proof, and why it is not."""

from __future__ import annotations

from services.exec_risk.exchange.health import (
    AUTHENTICATION_LIMIT,
    SIGNED_FRESH_SECONDS,
    SIGNED_PROBE_SECONDS,
    ExchangeHealth,
)


def working(now: float) -> ExchangeHealth:
    health = ExchangeHealth()
    health.probed(True)
    health.signed(now)
    return health


def test_nothing_is_connected_before_a_signed_request_succeeded() -> None:
    health = ExchangeHealth()
    assert health.down_reason(0, "") == "requests are not answered"
    health.probed(True)
    assert "no signed request" in health.down_reason(0, "")
    assert health.needs_signed_probe(0)
    health.signed(0)
    assert health.down_reason(0, "") == ""


def test_a_key_refused_at_the_start_is_named_at_once() -> None:
    """Incident 49: the reason is the exchange's own."""
    health = ExchangeHealth()
    health.probed(True)
    health.key_rejected("-2015 Invalid API-key")
    assert health.down_reason(0, "") == "the API key is refused: -2015 Invalid API-key"


def test_a_working_key_is_doubted_after_several_refusals_and_believed_after_one_success() -> None:
    """Incident 49: so many refusals in a row end the connection, one success brings it back."""
    health = working(0)
    for _ in range(AUTHENTICATION_LIMIT - 1):
        health.key_rejected("-1022")
    assert health.down_reason(1, "") == ""
    assert health.needs_signed_probe(1)
    health.key_rejected("-1022")
    assert "-1022" in health.down_reason(1, "")
    health.signed(2)
    assert health.down_reason(2, "") == ""


def test_a_success_grows_old() -> None:
    health = working(100)
    assert not health.needs_signed_probe(100 + SIGNED_PROBE_SECONDS - 1)
    assert health.needs_signed_probe(100 + SIGNED_PROBE_SECONDS)
    assert health.down_reason(100 + SIGNED_FRESH_SECONDS, "") == ""
    assert "signed" in health.down_reason(100 + SIGNED_FRESH_SECONDS + 1, "")


def test_a_ban_and_missed_probes_are_named() -> None:
    health = working(0)
    assert "until 12:00" in health.down_reason(0, "12:00")
    health.probed(False)
    assert health.down_reason(0, "") == ""
    health.probed(False)
    assert health.down_reason(0, "") == "requests are not answered"
