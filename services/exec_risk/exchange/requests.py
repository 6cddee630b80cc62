"""Requests of one account: admitted, signed, sent, and classified by what their answers prove."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.exec_risk.core.exchange_events import Refused, Unknown
from services.exec_risk.exchange.client import Reply, TappedClient
from services.exec_risk.exchange.clock import ExchangeClock
from services.exec_risk.exchange.endpoints import OPEN_ORDERS_OF_SYMBOL, TIME, Endpoint
from services.exec_risk.exchange.errors import (
    CLOCK_CODE,
    RATE_LIMITED,
    classify,
    error_code,
    error_text,
    is_authentication,
)
from services.exec_risk.exchange.gate import Gate, LimitReached
from services.exec_risk.exchange.health import ExchangeHealth
from services.exec_risk.exchange.limits import Cost, Use
from services.exec_risk.exchange.settings import ExchangeSettings
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

Params = Mapping[str, str | int | bool]


class ExchangeUnavailable(Exception):
    """A read was not answered, or answered with an error that asking again may cure."""


class ExchangeRefused(Exception):
    """A read was refused for good; `code` is the exchange's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without a usable answer."""

    outcome: Refused | Unknown
    code: str

    @property
    def text(self) -> str:
        """What went wrong."""
        outcome = self.outcome
        return outcome.message if isinstance(outcome, Refused) else outcome.reason


class Requests:
    """Sends requests of one account and knows whether they are answered."""

    def __init__(
        self,
        client: TappedClient,
        settings: ExchangeSettings,
        clock: Clock,
        *,
        exchange_clock: ExchangeClock,
        gate: Gate,
    ) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._time = exchange_clock
        self._gate = gate
        self._health = ExchangeHealth()
        self._probe_symbol = "BTCUSDT"

    @property
    def down_reason(self) -> str:
        """Why requests do not do; empty while they are answered and the key is accepted."""
        return self._health.down_reason(self._clock.monotonic(), self._gate.banned)

    @property
    def reachable(self) -> bool:
        """True while probes are answered."""
        return self._health.reachable

    @property
    def key_refusal(self) -> str:
        """Why the key is taken as refused; empty while it is not."""
        return self._health.key_refusal

    @property
    def answered(self) -> bool:
        """True while probes are answered and the key is accepted."""
        return not self.down_reason

    @property
    def banned(self) -> bool:
        """True while nothing at all may be sent."""
        return bool(self._gate.banned)

    def probe_with(self, symbol: str) -> None:
        """Name a symbol whose open orders are asked for to try the key: the cheapest question."""
        self._probe_symbol = symbol

    async def synchronise(self) -> str:
        """Measure the clock difference; return why it could not be, empty when it could."""
        sent = self._time.wall_ms()
        answer = await self._send(TIME, {}, TIME.cost, Use.EXIT, patience_ms=0)
        if isinstance(answer, Failure):
            return answer.text
        try:
            self._time.measured(sent, int(answer["serverTime"]))
        except (KeyError, TypeError, ValueError) as error:
            return f"the time makes no sense: {type(error).__name__}"
        self._client.options["timeDifference"] = -self._time.offset_ms
        return ""

    async def probe(self) -> None:
        """Ask for the time, and where it was not proven lately try the key. Never raises."""
        if self._gate.held:
            return  # the exchange asked for less, and silence on its wish proves nothing
        try:
            async with asyncio.timeout(self._settings.probe_seconds):
                failed = await self.synchronise()
                if not failed and self._health.needs_signed_probe(self._clock.monotonic()):
                    await self._send(
                        OPEN_ORDERS_OF_SYMBOL,
                        {"symbol": self._probe_symbol},
                        OPEN_ORDERS_OF_SYMBOL.cost,
                        Use.EXIT,
                        patience_ms=0,
                    )
        except TimeoutError:
            failed = f"no answer within {self._settings.probe_seconds} s"
        missed = self._health.probed(not failed)
        if failed:
            log.warning("exchange_probe_missed", missed=missed, error=failed)

    async def read(
        self,
        endpoint: Endpoint,
        params: Params | None = None,
        *,
        use: Use = Use.READ,
        cost: Cost | None = None,
    ) -> Any:
        """Send a request that changes nothing, again once after a clock resync.

        Raises ExchangeRefused or ExchangeUnavailable.
        """
        patience = int(self._settings.timeout_seconds * 1000)
        for attempt in (1, 2):
            answer = await self._send(
                endpoint, params or {}, cost or endpoint.cost, use, patience_ms=patience
            )
            if not isinstance(answer, Failure):
                if isinstance(answer, dict | list):
                    return answer
                raise ExchangeUnavailable(f"the answer is no JSON: {str(answer)[:80]!r}")
            if answer.code == CLOCK_CODE and attempt == 1:
                await self._resynchronise()
                continue
            outcome = answer.outcome
            if isinstance(outcome, Refused):
                if not outcome.retryable:
                    raise ExchangeRefused(outcome.code, outcome.message)
                raise ExchangeUnavailable(f"{outcome.code}: {outcome.message}")
            raise ExchangeUnavailable(outcome.reason)
        raise AssertionError("unreachable")

    async def write(
        self, endpoint: Endpoint, params: Params, *, use: Use, signed_at: int | None = None
    ) -> dict[str, Any] | Refused | Unknown:
        """Send a request that changes something, once.

        It is sent a second time only after -1021, an answer that proves that nothing was done,
        and only while the signature's own window still runs (see exchange_clock).
        """
        moment = self._time.wall_ms() if signed_at is None else signed_at
        window = self._settings.recv_window_ms
        for attempt in (1, 2):
            if not self._time.age_known(moment):
                message = "this machine's clock was set since the request was allowed"
                return Refused(CLOCK_CODE, message, retryable=True)
            stamped = {**params, "recvWindow": window}
            stamped["timestamp"] = moment + self._time.offset_ms
            answer = await self._send(
                endpoint,
                stamped,
                endpoint.cost,
                use,
                patience_ms=max(0, self._time.left_ms(moment)),
            )
            if not isinstance(answer, Failure):
                if isinstance(answer, dict):
                    return answer
                return Unknown(reason=f"the answer is no object: {str(answer)[:80]!r}")
            if answer.code == CLOCK_CODE and attempt == 1:
                await self._resynchronise()
                if self._time.left_ms(moment) > 0:
                    continue
            return answer.outcome
        raise AssertionError("unreachable")

    async def _send(
        self, endpoint: Endpoint, params: Params, cost: Cost, use: Use, *, patience_ms: int
    ) -> Any:
        """Return the body of an answer, or a Failure."""
        try:
            ticket = await self._gate.enter(cost, use, patience_ms)
        except LimitReached as error:
            return Failure(Refused(RATE_LIMITED, str(error), retryable=True), RATE_LIMITED)
        reply = Reply()
        try:
            reply = await self._client.ask(endpoint, params)
        finally:
            # also when the caller gave up waiting: what was sent has used the limit
            self._gate.leave(ticket, reply, use)
        if reply.error is None:
            if endpoint.signed and isinstance(reply.body, dict | list):
                self._health.signed(self._clock.monotonic())
            return reply.body
        if is_authentication(reply.error):
            text = f"{error_code(reply.error)} {error_text(reply.error)}".strip()
            times = self._health.key_rejected(text)
            log.error("exchange_key_rejected", times=times, error=text)
        return Failure(classify(reply.error, reply.status), error_code(reply.error))

    async def _resynchronise(self) -> None:
        failed = await self.synchronise()
        if failed:
            log.warning("exchange_clock_unread", error=failed)
        else:
            log.warning("exchange_clock_resynchronised", offset_ms=self._time.offset_ms)
