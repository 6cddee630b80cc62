"""Requests and replies under faults: what happens between the socket and the exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from services.venue.core.faults import Fault, FaultBody, FaultKind, Subject
from services.venue.server.calls import Call
from services.venue.server.fault_host import FaultHost
from services.venue.server.sockets import encode

_HTML = "<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"
_BROKEN = '{"orderId":28412'
_BANNED = "Way too many requests; IP banned until {0}. Please use the websocket for live updates."
_CLOSED = "This service is no longer available."
_CLIENT_IDS = ("newClientOrderId", "clientAlgoId", "origClientOrderId")


def subject_of(method: str, path: str, call: Call) -> Subject:
    """Return what faults see of a request."""
    given = call.parameters
    client_id = next((given[name] for name in _CLIENT_IDS if given.get(name)), "")
    return Subject(
        method=method,
        path=path,
        symbol=given.get("symbol", ""),
        side=given.get("side", ""),
        client_id=client_id,
    )


class FaultyReplies:
    """Answers requests as the faults in force have it."""

    def __init__(self, host: FaultHost) -> None:
        self._host = host
        self._replied = asyncio.Event()

    async def answer(
        self, request: web.Request, subject: Subject, decide: Callable[[], web.Response]
    ) -> web.Response:
        """Return the reply; `decide` carries the request out."""
        if self._host.quiet:
            return decide()
        refused = await self._before(request, subject)
        if refused is not None:
            return refused
        reply = decide()
        if self._host.strike(FaultKind.REQUEST_DUPLICATE, subject) is not None:
            reply = decide()
        return await self._after(request, subject, reply)

    async def _before(self, request: web.Request, subject: Subject) -> web.Response | None:
        """Return the answer to a request that is not carried out; None when it is."""
        host = self._host
        if host.strike(FaultKind.SILENCE, subject, carried_out=False) is not None:
            return await self._silent(request, subject)
        if (closed := host.strike(FaultKind.MAINTENANCE, subject)) is not None:
            return wrong_answer(replace(closed, status=503, code=-1016, message=_CLOSED))
        if (ban := host.strike(FaultKind.BAN, subject)) is not None:
            return _banned(ban, host.wall_ms())
        if (late := host.strike(FaultKind.REQUEST_DELAY, subject)) is not None:
            await host.sleep(late.delay_ms)
        if host.strike(FaultKind.REQUEST_DROP, subject) is not None:
            return hung_up(request)
        error = host.strike(FaultKind.ERROR, subject, carried_out=False)
        return wrong_answer(error) if error is not None else None

    async def _after(
        self, request: web.Request, subject: Subject, reply: web.Response
    ) -> web.Response:
        host = self._host
        if host.strike(FaultKind.SILENCE, subject, carried_out=True) is not None:
            return await self._silent(request, subject)
        if (error := host.strike(FaultKind.ERROR, subject, carried_out=True)) is not None:
            reply = wrong_answer(error)
        if host.strike(FaultKind.REPLY_DROP, subject) is not None:
            return hung_up(request)
        if (late := host.strike(FaultKind.REPLY_DELAY, subject)) is not None:
            await host.sleep(late.delay_ms)
        if (held := host.strike(FaultKind.REPLY_REORDER, subject)) is not None:
            await self._next_reply(held.delay_ms)
        self._replied.set()
        return reply

    async def _silent(self, request: web.Request, subject: Subject) -> web.Response:
        await self._host.until_over(FaultKind.SILENCE, subject)
        return hung_up(request)

    async def _next_reply(self, most_ms: int) -> None:
        """Wait until another reply has gone, or the longest time is over."""
        self._replied.clear()
        other = asyncio.ensure_future(self._replied.wait())
        late = asyncio.ensure_future(self._host.sleep(most_ms))
        try:
            await asyncio.wait((other, late), return_when=asyncio.FIRST_COMPLETED)
        finally:
            other.cancel()
            late.cancel()


def wrong_answer(fault: Fault) -> web.Response:
    """Return the answer that a fault gives instead of the exchange's own."""
    message = fault.message or "An unknown error occurred while processing the request."
    if fault.body is FaultBody.JSON:
        return _error(fault.status, fault.code, message, fault.retry_after)
    headers = _retry(fault.retry_after)
    if fault.body is FaultBody.HTML:
        page = _HTML.format(f"{fault.status} {fault.message or 'Bad Gateway'}")
        return web.Response(
            status=fault.status, text=page, content_type="text/html", headers=headers
        )
    text = _BROKEN if fault.body is FaultBody.BROKEN else ""
    return web.Response(
        status=fault.status, text=text, content_type="application/json", headers=headers
    )


def _banned(fault: Fault, wall_ms: int) -> web.Response:
    until = wall_ms + fault.retry_after * 1000
    return _error(fault.status, -1003, _BANNED.format(until), fault.retry_after)


def _error(status: int, code: int, message: str, retry_after: int) -> web.Response:
    return web.Response(
        status=status,
        text=encode({"code": code, "msg": message}),
        content_type="application/json",
        headers=_retry(retry_after),
    )


def _retry(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)} if seconds else {}


def hung_up(request: web.Request) -> web.Response:
    """Close the connection; the response that aiohttp needs is never sent."""
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=503)
