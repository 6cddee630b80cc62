"""Signatures, time windows and limits."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from services.venue.core.rejections import Rejection
from services.venue.server.calls import Call
from services.venue.server.limits import Limits, TooManyRequests
from services.venue.server.security import Keys, check_time

KEYS = Keys("key", "secret")


def signed(text: str) -> str:
    """Return the signature of a text."""
    return hmac.new(b"secret", text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize("place", ["query", "body"])
def test_signature_covers_exactly_what_was_sent(place: str) -> None:
    text = "symbol=BTCUSDT&list=%5B1%2C2%5D&timestamp=1"
    whole = f"{text}&signature={signed(text)}"
    query, body = (whole, "") if place == "query" else ("", whole)
    KEYS.check_signature(query, body)
    with pytest.raises(Rejection, match="-1022"):
        KEYS.check_signature(query.replace("1", "2"), body.replace("1", "2"))


def test_query_and_body_are_signed_together() -> None:
    KEYS.check_signature("a=1", f"b=2&signature={signed('a=1b=2')}")


def test_missing_signature_is_refused() -> None:
    with pytest.raises(Rejection, match="-1102"):
        KEYS.check_signature("a=1", "")


@pytest.mark.parametrize("key", [None, "", "other"])
def test_wrong_key_is_refused(key: str | None) -> None:
    with pytest.raises(Rejection, match="-2015"):
        KEYS.check_key(key)


@pytest.mark.parametrize(
    ("timestamp", "window", "good"),
    [
        (100_000, 1500, True),
        (98_500, 1500, True),
        (98_499, 1500, False),
        (101_000, 1500, True),
        (101_001, 1500, False),
        (95_000, 5000, True),
        (100_000, 60_001, False),
    ],
)
def test_time_window_of_a_request(timestamp: int, window: int, good: bool) -> None:
    call = Call({"timestamp": str(timestamp), "recvWindow": str(window)})
    if good:
        check_time(call, 100_000)
        return
    with pytest.raises(Rejection):
        check_time(call, 100_000)


def test_limits_count_within_their_windows() -> None:
    limits = Limits(weight=10, orders_10s=2, orders_1m=5)
    assert limits.take(0, weight=4, orders=1) == {
        "X-MBX-USED-WEIGHT-1M": "4",
        "X-MBX-ORDER-COUNT-10S": "1",
        "X-MBX-ORDER-COUNT-1M": "1",
    }
    limits.take(1, weight=1, orders=1)
    with pytest.raises(TooManyRequests) as many:
        limits.take(2, weight=1, orders=1)
    assert many.value.retry_after == 10
    limits.take(10_000, weight=1, orders=1)
    with pytest.raises(TooManyRequests) as many:
        limits.take(10_001, weight=9, orders=0)
    assert many.value.retry_after == 50
    assert limits.take(60_000, weight=9, orders=0) == {"X-MBX-USED-WEIGHT-1M": "9"}
