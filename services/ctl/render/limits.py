"""How much one client may ask: calls a second, and the size of a request."""

from __future__ import annotations

import json
from typing import Any

from services.ctl.render.pieces import piece
from services.ctl.settings import GatewaySettings
from services.kit.caller import SUBJECT_HEADER

STRANGERS = 4
"""Calls of one address before its tokens are looked at, in limits of one client: several clients
may share an address, and one that guesses tokens is stopped before their signatures cost time."""


def per_address(settings: GatewaySettings) -> dict[str, Any]:
    """Return the limit that comes before the token check."""
    buckets = [{"entries": [{"key": "remote_address"}]}]
    counted: list[dict[str, Any]] = [{"actions": [{"remote_address": {}}]}]
    rate = settings.gateway_calls_per_second * STRANGERS
    return _limit("limit-address", rate, buckets, counted)


def per_client(settings: GatewaySettings) -> dict[str, Any]:
    """Return the limit behind the token check: by subject, without one by address."""
    absent = {
        "descriptor_key": "who",
        "descriptor_value": "nobody",
        "expect_match": False,
        "headers": [{"name": SUBJECT_HEADER, "present_match": True}],
    }
    buckets = [
        {"entries": [{"key": "subject"}]},
        {"entries": [{"key": "who", "value": "nobody"}, {"key": "remote_address"}]},
    ]
    named = {"header_name": SUBJECT_HEADER, "descriptor_key": "subject"}
    counted: list[dict[str, Any]] = [
        {"actions": [{"request_headers": named}]},
        {"actions": [{"header_value_match": absent}, {"remote_address": {}}]},
    ]
    return _limit("limit-client", settings.gateway_calls_per_second, buckets, counted)


def _limit(
    name: str, rate: int, buckets: list[dict[str, Any]], counted: list[dict[str, Any]]
) -> dict[str, Any]:
    bucket = {"max_tokens": 2 * rate, "tokens_per_fill": rate, "fill_interval": "1s"}
    return piece(
        "filter-limit",
        name=name,
        descriptors=json.dumps([{**entry, "token_bucket": bucket} for entry in buckets]),
        rate_limits=json.dumps(counted),
    )


def size(settings: GatewaySettings) -> dict[str, Any]:
    """Return the limit of a request's size."""
    return piece("filter-size", bytes=settings.gateway_request_bytes)
