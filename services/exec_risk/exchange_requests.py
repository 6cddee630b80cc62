"""Signed requests: clock difference, rate limits, failures counted, outcomes classified."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import ccxt

from services.exec_risk.core.exchange_events import Refused, Unknown
from services.exec_risk.exchange_client import TappedClient
from services.exec_risk.exchange_errors import (
    CLOCK_CODE,
    classify,
    error_code,
    error_text,
    is_authentication,
)
from services.exec_risk.exchange_settings import ExchangeSettings
from services.kit.clock import Clock
from services.kit.logs import get_logger
from services.trade.times import from_datetime

log = get_logger(__name__)

AUTHENTICATION_LIMIT = 3
"""So many refused keys in a row mean that the exchange is not connected (incident 49)."""
MISSED_PROBES_LIMIT = 2
DEFAULT_PAUSE_SECONDS = 5.0

Params = Mapping[str, str | int | bool]
Call = Callable[[dict[str, Any]], Awaitable[Any]]


class ExchangeUnavailable(Exception):
    """A read was not answered, or answered with an error that asking again may cure."""


class ExchangeRefused(Exception):
    """A read was refused for good; `code` is the exchange's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Requests:
    """Sends requests of one account and knows whether they are answered."""

    def __init__(self, client: TappedClient, settings: ExchangeSettings, clock: Clock) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._offset_ms = 0
        self._rejected_keys = 0
        self._missed_probes = MISSED_PROBES_LIMIT
        self._paused_until = 0.0

    @property
    def answered(self) -> bool:
        """True while probes are answered and the key is accepted."""
        reachable = self._missed_probes < MISSED_PROBES_LIMIT
        return reachable and self._rejected_keys < AUTHENTICATION_LIMIT

    @property
    def offset_ms(self) -> int:
        """The exchange's clock minus this machine's."""
        return self._offset_ms

    def wall_ms(self) -> int:
        """Return this machine's wall time."""
        return from_datetime(self._clock.now())

    async def synchronise(self) -> None:
        """Measure the clock difference; raises what ccxt raises when there is no answer."""
        sent = self.wall_ms()
        answer = await self._client.fapiPublicGetTime()
        server = int(answer["serverTime"])
        self._offset_ms = server - (sent + self.wall_ms()) // 2
        self._client.options["timeDifference"] = -self._offset_ms

    async def probe(self) -> None:
        """Ask for the time, and with a doubtful key for the account; counts, never raises."""
        try:
            async with asyncio.timeout(self._settings.probe_seconds):
                await self.synchronise()
                if self._rejected_keys:
                    await self._client.fapiPrivateV3GetAccount({})
                    self._rejected_keys = 0
            self._missed_probes = 0
        except (ccxt.BaseError, TimeoutError, KeyError, TypeError, ValueError) as error:
            if is_authentication(error):
                self._missed_probes = 0
                self._count_key(error)
                return
            self._missed_probes += 1
            log.warning(
                "exchange_probe_missed", missed=self._missed_probes, error=error_text(error)
            )

    async def read(self, call: Call, params: Params | None = None, *, public: bool = False) -> Any:
        """Send a request that changes nothing, again once after a clock resync.

        A `public` one carries no key, so its answer says nothing about the key.
        Raises ExchangeRefused or ExchangeUnavailable.
        """
        for attempt in (1, 2):
            try:
                answer = await call(dict(params or {}))
            except ccxt.BaseError as error:
                self._note(error)
                if error_code(error) == CLOCK_CODE and attempt == 1:
                    await self._resynchronise()
                    continue
                outcome = classify(error)
                if isinstance(outcome, Refused) and not outcome.retryable:
                    raise ExchangeRefused(outcome.code, outcome.message) from error
                raise ExchangeUnavailable(error_text(error)) from error
            if not isinstance(answer, dict | list):
                raise ExchangeUnavailable(f"the answer is no JSON: {str(answer)[:80]!r}")
            if not public:
                self._rejected_keys = 0
            return answer
        raise AssertionError("unreachable")

    async def write(
        self, call: Call, params: Params, *, signed_at: int | None = None
    ) -> dict[str, Any] | Refused | Unknown:
        """Send a request that changes something, once.

        It is sent a second time only after -1021, an answer that proves that nothing was done,
        and only while the signature's own window still runs: a frozen sender stays refused.
        """
        for attempt in (1, 2):
            if self._clock.monotonic() < self._paused_until:
                return Refused(
                    code="rate_limited", message="waiting as the exchange asked", retryable=True
                )
            stamped = {**params, "recvWindow": self._settings.recv_window_ms}
            moment = self.wall_ms() if signed_at is None else signed_at
            stamped["timestamp"] = moment + self._offset_ms
            try:
                answer = await call(stamped)
            except ccxt.BaseError as error:
                self._note(error)
                fresh = self.wall_ms() - moment < self._settings.recv_window_ms
                if error_code(error) == CLOCK_CODE and attempt == 1 and fresh:
                    await self._resynchronise()
                    continue
                return classify(error)
            except Exception as error:
                # whatever broke while reading an answer, the request may have arrived
                log.exception("exchange_answer_unreadable")
                return Unknown(reason=f"{type(error).__name__}: {error}")
            self._rejected_keys = 0
            if not isinstance(answer, dict):
                return Unknown(reason=f"the answer is no object: {str(answer)[:80]!r}")
            return answer
        raise AssertionError("unreachable")

    async def _resynchronise(self) -> None:
        try:
            await self.synchronise()
        except (ccxt.BaseError, KeyError, TypeError, ValueError) as error:
            log.warning("exchange_clock_unread", error=error_text(error))
        else:
            log.warning("exchange_clock_resynchronised", offset_ms=self._offset_ms)

    def _note(self, error: ccxt.BaseError) -> None:
        if is_authentication(error):
            self._count_key(error)
        elif isinstance(error, ccxt.DDoSProtection | ccxt.RateLimitExceeded):
            headers = self._client.last_response_headers or {}
            named = {str(k).lower(): str(v) for k, v in headers.items()}.get("retry-after", "")
            seconds = float(named) if named.isdigit() else DEFAULT_PAUSE_SECONDS
            self._paused_until = self._clock.monotonic() + seconds
            log.warning("exchange_rate_limited", pause_seconds=seconds, error=error_text(error))

    def _count_key(self, error: BaseException) -> None:
        self._rejected_keys += 1
        log.error("exchange_key_rejected", times=self._rejected_keys, error=error_text(error))
