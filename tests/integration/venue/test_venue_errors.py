"""Refusals reach ccxt as the same exceptions as from the real exchange."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import ccxt
import pytest

from services.venue.app import RunningVenue, start_venue
from services.venue.settings import VenueSettings
from tests.integration.venue import client
from tests.integration.venue.client import BTC, Lockstep


@pytest.fixture
async def venue() -> AsyncIterator[RunningVenue]:
    """A fresh venue with small limits."""
    settings = VenueSettings(venue_speed=0, venue_weight_limit=200, venue_order_limit_10s=20)
    async with start_venue(settings) as running:
        yield running


@pytest.fixture
async def ccxt_client(venue: RunningVenue) -> AsyncIterator[Any]:
    """The real client."""
    async with client.exchange(venue.url) as made:
        yield made


@pytest.mark.parametrize(
    ("arguments", "params", "error"),
    [
        (("market", "buy", 50.0), {}, ccxt.InsufficientFunds),
        (("market", "sell", 0.05), {"reduceOnly": True}, ccxt.InvalidOrder),
        (("market", "buy", 0.001), {}, ccxt.InvalidOrder),
        (("limit", "buy", 0.01, 200_000.0), {"postOnly": True}, ccxt.OrderNotFillable),
        (
            ("market", "sell", 0.05),
            {"stopLossPrice": 200_000.0, "closePosition": True},
            ccxt.OrderImmediatelyFillable,
        ),
    ],
)
async def test_refused_orders(
    ccxt_client: Any, arguments: tuple[Any, ...], params: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await ccxt_client.create_order(BTC, *arguments, params=params)


async def test_unknown_and_repeated_ids(ccxt_client: Any, venue: RunningVenue) -> None:
    with pytest.raises(ccxt.OrderNotFound):
        await ccxt_client.fetch_order(None, BTC, {"clientOrderId": "nothing"})
    with pytest.raises(ccxt.OrderNotFound):
        await ccxt_client.cancel_order(None, BTC, {"clientOrderId": "nothing"})
    params = {"newClientOrderId": "same"}
    await ccxt_client.create_order(BTC, "market", "buy", 0.01, None, params)
    with pytest.raises(ccxt.InvalidOrder, match="-4116"):
        await ccxt_client.create_order(BTC, "market", "buy", 0.01, None, params)
    async with Lockstep.connect(venue.url) as clock:
        await clock.step()
        await ccxt_client.create_order(BTC, "market", "buy", 0.01, None, params)


async def test_wrong_key_and_wrong_secret(venue: RunningVenue) -> None:
    async with client.exchange(venue.url, secret="wrong") as wrong:
        with pytest.raises(ccxt.AuthenticationError, match="-1022"):
            await wrong.fetch_balance()
    async with client.exchange(venue.url, apiKey="wrong") as wrong:
        with pytest.raises(ccxt.AuthenticationError, match="-2015"):
            await wrong.fetch_balance()


@pytest.mark.parametrize("offset_ms", [-3_000, 2_500])
async def test_frozen_or_early_request_is_refused(ccxt_client: Any, offset_ms: int) -> None:
    """Incident class: a frozen leader's request must be refused by the exchange itself."""
    params = {"timestamp": int(time.time() * 1000) + offset_ms, "recvWindow": 1500}
    with pytest.raises(ccxt.InvalidNonce):
        await ccxt_client.create_order(BTC, "market", "buy", 0.05, None, params)
    assert await ccxt_client.fetch_open_orders() == []


async def test_overuse_is_answered_with_429(ccxt_client: Any, venue: RunningVenue) -> None:
    with pytest.raises(ccxt.DDoSProtection):
        for _ in range(60):
            await ccxt_client.fetch_balance()
    assert int(ccxt_client.last_response_headers["Retry-After"]) > 0
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{venue.url}/fapi/v1/time")
        assert answer.status == 429


async def test_every_reply_tells_the_used_weight(ccxt_client: Any) -> None:
    await ccxt_client.create_order(BTC, "market", "buy", 0.01)
    headers = ccxt_client.last_response_headers
    assert int(headers["X-MBX-USED-WEIGHT-1M"]) > 0
    assert headers["X-MBX-ORDER-COUNT-10S"] == "1"
