"""Carries out what analytics asks for on the bus, and tells what this supervisor did by itself.

Only a supervisor starts and ends processes. It acts on its own ones, once for each request, not on
an old request, and not on a process that is only just starting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc
from google.protobuf.message import DecodeError
from quantum.analytics.v1 import alerts_pb2 as pb
from quantum.ops.v1 import operations_service_pb2 as ops
from quantum.ops.v1 import operations_service_pb2_grpc as ops_rpc

from services.catalog import subjects
from services.catalog.events import RECOVERY_DONE
from services.catalog.processes import process
from services.ctl.supervisor.unit import Unit
from services.ctl.supervisor.watch import State, Watch
from services.kit.bus.bus import Bus, BusRefused, BusUnavailable, Message
from services.kit.bus.login import BusLogin
from services.kit.observe.logs import get_logger
from services.trade.ids import digest

log = get_logger(__name__)

OLD_SECONDS = 30.0
"""A request that is older is nobody's wish any more."""
BACK_SECONDS = 90.0
"""A process that was started again answers within this time."""
_POLL_SECONDS = 0.1
_DRAIN_SECONDS = 5.0
_AGAIN_SECONDS = 1.0
_KEPT = 200
_SOURCE = "supervisor"
_WORKS = (State.LIVE, State.READY)


@dataclass(frozen=True, slots=True)
class BusPlace:
    """Where the bus is and as whom the supervisor comes."""

    url: str
    login: BusLogin
    service: str = ""
    """Process name whose supervisor this is; empty: that of all of them."""


class Recoveries:
    """The healing hand of one supervisor."""

    def __init__(self, place: BusPlace, watches: Callable[[], Iterable[Watch]]) -> None:
        """`watches` tells the processes as they are now."""
        self._place = place
        self._watches = watches
        self._asked: asyncio.Queue[pb.RecoveryAsked] = asyncio.Queue()
        self._done: asyncio.Queue[ops.RecoveryDone] = asyncio.Queue(_KEPT)
        self._seen: set[str] = set()

    def restarted(self, unit: Unit, reason: str) -> None:
        """Tell that a process was started again because it died or hung."""
        at = time.time()
        key = digest("restarted", unit.name, int(at * 1000))
        if not self._done.full():
            self._done.put_nowait(_told(key, "RESTART", unit, reason, done=True, asked=False))

    async def run(self) -> None:
        """Listen, act and tell, for ever."""
        while True:
            try:
                await self._run()
            except Exception:
                # a login that cannot be read, a server that says no, a defect, told by any of the
                # tasks: healing on request is one more help, without it the supervisor goes on
                log.exception("recoveries_failed")
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _run(self) -> None:
        bus = await Bus.connect(self._place.url, _SOURCE, self._place.login)
        try:
            await self._listen(bus)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._act())
                group.create_task(self._tell(bus))
        finally:
            await bus.close()

    async def _listen(self, bus: Bus) -> None:
        service = self._place.service
        subject = subjects.recovery_asked(service) if service else subjects.ALL_RECOVERIES_ASKED
        while True:
            try:
                await bus.require((subjects.LIVE,))
                await bus.follow(subjects.LIVE.name, subject, self._hear, start="new")
                return
            except BusUnavailable as error:
                log.warning("recovery_requests_not_heard", error=str(error))
            await asyncio.sleep(_AGAIN_SECONDS)

    def _hear(self, message: Message) -> None:
        try:
            asked = pb.RecoveryAsked.FromString(message.data)
        except DecodeError:
            log.error("recovery_request_unreadable", at=message.sequence)
            return
        if asked.recovery_id not in self._seen:
            self._seen.add(asked.recovery_id)
            self._asked.put_nowait(asked)

    async def _act(self) -> None:
        while True:
            asked = await self._asked.get()
            watch = self._find(asked)
            if watch is None:
                continue
            refusal = await self.carry_out(asked, watch)
            log.warning("recovery", action=asked.action, instance=asked.instance, refused=refusal)
            told = _told(
                asked.recovery_id,
                asked.action,
                watch.unit,
                refusal or asked.reason,
                done=not refusal,
                asked=True,
            )
            if not self._done.full():
                self._done.put_nowait(told)

    def _find(self, asked: pb.RecoveryAsked) -> Watch | None:
        return next(
            (
                watch
                for watch in self._watches()
                if watch.unit.name == asked.instance and name_of(watch.unit) == asked.service_name
            ),
            None,
        )

    async def carry_out(self, asked: pb.RecoveryAsked, watch: Watch) -> str:
        """Do what was asked for; return why not, empty when it was done."""
        age = time.time() - asked.time.ToMilliseconds() / 1000
        if age > OLD_SECONDS:
            return f"the request is {age:.0f} s old"
        if watch.state not in _WORKS:
            return f"{watch.unit.name} is {watch.state}"
        if asked.action in ("DRAIN", "RETURN"):
            return await _drain(watch.unit, drain=asked.action == "DRAIN")
        return await _restart(watch)

    async def _tell(self, bus: Bus) -> None:
        while True:
            told = await self._done.get()
            service = self._place.service or told.service_name.partition(".")[0]
            while not await _published(bus, subjects.recovery_done(service), told):
                await asyncio.sleep(_AGAIN_SECONDS)


def name_of(unit: Unit) -> str:
    """Return the process name of a unit, or that of a part."""
    try:
        return process(unit.service).name
    except KeyError:
        return unit.service


async def _restart(watch: Watch) -> str:
    before = watch.restarts
    watch.restart()
    deadline = time.monotonic() + BACK_SECONDS
    while time.monotonic() < deadline:
        if watch.restarts > before and watch.state in _WORKS:
            return ""
        if watch.failed:
            return f"it did not start again: {watch.reason}"
        await asyncio.sleep(_POLL_SECONDS)
    return f"it did not answer within {BACK_SECONDS:.0f} s of its restart"


async def _drain(unit: Unit, *, drain: bool) -> str:
    async with grpc.aio.insecure_channel(unit.address) as channel:
        stub = ops_rpc.OperationsServiceStub(channel)
        try:
            await stub.Drain(ops.DrainRequest(enabled=drain), timeout=_DRAIN_SECONDS)
        except grpc.aio.AioRpcError as error:
            return f"it does not answer ({error.code().name.lower()})"
    return ""


def _told(
    key: str, action: str, unit: Unit, reason: str, *, done: bool, asked: bool
) -> ops.RecoveryDone:
    message = ops.RecoveryDone(
        recovery_id=key,
        action=action,
        service_name=name_of(unit),
        instance=unit.name,
        done=done,
        reason=reason,
        asked=asked,
    )
    message.time.FromDatetime(datetime.now(UTC))
    return message


async def _published(bus: Bus, subject: str, told: ops.RecoveryDone) -> bool:
    """Publish; True too when it is refused for good."""
    try:
        await bus.publish(
            subject,
            told.SerializeToString(),
            message_id=f"done-{told.recovery_id}",
            headers={
                subjects.HEADER_TYPE: RECOVERY_DONE,
                subjects.HEADER_SOURCE: _SOURCE,
                subjects.HEADER_TIME: str(told.time.ToMilliseconds()),
            },
            deadline=_DRAIN_SECONDS,
        )
    except BusRefused as error:
        log.error("recovery_not_told", error=str(error))
    except BusUnavailable:
        return False
    return True
