"""API key, signature and timestamp of requests, checked as Binance does."""

from __future__ import annotations

import hashlib
import hmac

from services.venue.core.rejections import Rejection
from services.venue.server.calls import Call

_AHEAD_MS = 1000
_DEFAULT_WINDOW_MS = 5000
_LONGEST_WINDOW_MS = 60_000


class Unauthorized(Rejection):
    """A refusal that is answered with HTTP 401."""


class Keys:
    """The one API key of the venue and its secret."""

    def __init__(self, key: str, secret: str) -> None:
        self._key = key.encode()
        self._secret = secret.encode()

    def check_key(self, key: str | None) -> None:
        """Refuse a missing or wrong API key."""
        if not key or not hmac.compare_digest(key.encode(), self._key):
            raise Unauthorized(-2015, "Invalid API-key, IP, or permissions for action.")

    def check_signature(self, query: str, body: str) -> None:
        """Refuse when the signature is not the HMAC of exactly what was sent before it."""
        payload, signature = _without_signature(query, body)
        if not signature:
            raise Rejection(
                -1102,
                "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.",
            )
        made = hmac.new(self._secret, payload.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(made, signature.lower()):
            raise Rejection(-1022, "Signature for this request is not valid.")


def check_time(call: Call, now_ms: int) -> None:
    """Refuse a request signed too long ago, or in the future. All wall time."""
    timestamp = call.integer("timestamp")
    window = call.integer("recvWindow", _DEFAULT_WINDOW_MS)
    if not 0 < window <= _LONGEST_WINDOW_MS:
        raise Rejection(-1131, "recvWindow must be less than 60000")
    if timestamp > now_ms + _AHEAD_MS:
        raise Rejection(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if timestamp < now_ms - window:
        raise Rejection(-1021, "Timestamp for this request is outside of the recvWindow.")


def _without_signature(query: str, body: str) -> tuple[str, str]:
    """Split the signature from what it signs: it is the last parameter of query or body."""
    for text, other_first, other_last in ((body, query, ""), (query, "", body)):
        head, found, tail = text.rpartition("signature=")
        if found and (not head or head.endswith("&")) and "&" not in tail:
            return other_first + head.removesuffix("&") + other_last, tail
    return query + body, ""
