"""The control channel: how `qt` commands reach the running supervisor. Loopback, with a token."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from aiohttp import web

from services.ctl.servers.command import ServerFailed
from services.ctl.servers.free import LOOPBACK
from services.ctl.supervisor.home import Refused, write_json
from services.ctl.supervisor.rolling import Roll
from services.ctl.supervisor.selection import Selection
from services.ctl.supervisor.supervisor import Supervisor


class Control:
    """Answers for one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        """`serve` opens it."""
        self._supervisor = supervisor
        self._token = secrets.token_hex(16)
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Listen on a free port for the time of an `async with`; the file says where."""
        application = web.Application(middlewares=[self._guard])
        application.router.add_get("/status", self._status)
        application.router.add_post("/stop", self._stop)
        application.router.add_post("/restart", self._again)
        application.router.add_post("/restart/{name}", self._restart)
        application.router.add_post("/rebuild/{names}", self._rebuild)
        application.router.add_post("/start", self._start)
        application.router.add_post("/start/{names}", self._start)
        application.router.add_post("/stop/{names}", self._stop_some)
        application.router.add_post("/roll", self._roll)
        application.router.add_post("/roll/{names}", self._roll)
        application.router.add_post("/scale/{name}/{count}", self._scale)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, LOOPBACK, 0)
        await site.start()
        home = self._supervisor.home
        address = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
        entry = {"pid": os.getpid(), "url": address, "token": self._token}
        write_json(home.supervisor_file, entry, mode=0o600)
        try:
            yield
        finally:
            home.supervisor_file.unlink(missing_ok=True)
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        offered = request.headers.get("Authorization", "")
        if not secrets.compare_digest(offered, f"Bearer {self._token}"):
            return web.json_response({"error": "the token is missing or wrong"}, status=401)
        try:
            answer: web.StreamResponse = await handler(request)
        except (Refused, ServerFailed) as refusal:
            return web.json_response({"error": str(refusal)}, status=409)
        return answer

    async def _status(self, _: web.Request) -> web.Response:
        rows = [asdict(row) for row in self._supervisor.rows()]
        told = {"phase": self._supervisor.phase, "starts": self._supervisor.starts}
        return web.json_response({**told, "processes": rows})

    async def _stop(self, _: web.Request) -> web.Response:
        self._supervisor.stop_asked.set()
        return web.json_response({"stopping": True})

    async def _start(self, request: web.Request) -> web.Response:
        more = Selection.of(_names(request))
        return web.json_response({"started": await self._supervisor.include(more)})

    async def _stop_some(self, request: web.Request) -> web.Response:
        return web.json_response({"stopped": await self._supervisor.exclude(_names(request))})

    async def _restart(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"restarting": self._supervisor.restart(request.match_info["name"])}
        )

    async def _again(self, _: web.Request) -> web.Response:
        supervisor = self._supervisor
        if supervisor.phase != "running":
            raise Refused(f"the system is {supervisor.phase}: `qt ps` shows it")
        supervisor.again.set()
        return web.json_response({"restarting": list(supervisor.watches)})

    async def _rebuild(self, request: web.Request) -> web.Response:
        names = _names(request)
        await self._supervisor.rebuild(names)
        return web.json_response({"rebuilt": names})

    async def _roll(self, request: web.Request) -> web.StreamResponse:
        """Tell each step as a line of JSON; who asked may leave, the restart goes on."""
        roll = Roll(self._supervisor, _names(request))
        told: asyncio.Queue[dict[str, str] | None] = asyncio.Queue()
        task = asyncio.create_task(_carry_on(roll, told), name="rolling restart")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        while (step := await told.get()) is not None:
            await answer.write(json.dumps(step).encode() + b"\n")
        await answer.write_eof()
        return answer

    async def _scale(self, request: web.Request) -> web.Response:
        name, count = request.match_info["name"], request.match_info["count"]
        await self._supervisor.scale(name, int(count))
        return web.json_response({"service": name, "replicas": int(count)})


def _names(request: web.Request) -> list[str]:
    """Return the names in the path; none when the path ends before them."""
    return [name for name in request.match_info.get("names", "").split(",") if name]


async def _carry_on(roll: Roll, told: asyncio.Queue[dict[str, str] | None]) -> None:
    try:
        async for step in roll.run():
            told.put_nowait({"step": step})
    except Refused as refusal:
        told.put_nowait({"error": str(refusal)})
    except ServerFailed as failure:
        told.put_nowait({"error": str(failure)})
    finally:
        told.put_nowait(None)
