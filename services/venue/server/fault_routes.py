"""`/paper/v1/faults`: how the venue is told to misbehave.

Guarded by the API key like the calls of listen keys, not signed: a skewed clock or a ban must not
keep anybody from ending the fault. No fault hits it and it has no weight.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from services.venue.server.fault_host import FaultHost
from services.venue.server.fault_json import BadFault
from services.venue.server.security import Keys, Unauthorized
from services.venue.server.sockets import encode

FAULTS_PATH = "/paper/v1/faults"


class FaultRoutes:
    """POST puts a fault in force, GET lists those in force, DELETE ends one (`id`) or all."""

    def __init__(self, host: FaultHost, keys: Keys) -> None:
        self._host = host
        self._keys = keys

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a call."""
        try:
            self._keys.check_key(request.headers.get("X-MBX-APIKEY"))
            return _reply(200, await self._carried_out(request))
        except Unauthorized as refused:
            return _reply(401, {"code": refused.code, "msg": refused.message})
        except BadFault as bad:
            return _reply(400, {"code": -1102, "msg": str(bad)})

    async def _carried_out(self, request: web.Request) -> dict[str, Any]:
        if request.method == "GET":
            return {"faults": self._host.active()}
        if request.method == "DELETE":
            return {"removed": await self._host.remove(request.query.get("id", ""))}
        if request.method != "POST":
            raise BadFault("POST, GET and DELETE are known")
        try:
            asked = json.loads(await request.text())
        except ValueError:
            raise BadFault("the body is not JSON") from None
        return await self._host.add(asked)


def _reply(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=status, text=encode(body), content_type="application/json")
