"""Watches one unit: starts it, asks it, kills it when it hangs, starts it again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from enum import StrEnum

from services.ctl.servers.child import port_taken
from services.ctl.servers.command import NotReady, Probe, ServerFailed, last_line
from services.ctl.servers.free import is_free
from services.ctl.supervisor.child import Child
from services.ctl.supervisor.restart_loop import RestartLoop
from services.ctl.supervisor.unit import Unit

POLL_SECONDS = 0.1
PROBE_SECONDS = 1.0
START_SECONDS = 90.0
PROBE_FAILURES = 3
"""Failed liveness probes in a row after which a process counts as hung."""
STEADY_SECONDS = 30.0
"""Time alive after which the back-off begins anew."""
BACKOFF_FIRST = 0.2
BACKOFF_LAST = 10.0
START_TRIES = 3
"""Failed first starts after which starting is given up."""
BAD_SETTING = 2
"""Exit code of a process that was given a bad setting, or a credential that is missing or cannot
be read: trying again cannot help, so it waits for a restart that a person asks for."""


class State(StrEnum):
    """Where a unit stands."""

    WAITING = "waiting"
    STARTING = "starting"
    LIVE = "live"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


def untold(_: Unit, __: str) -> None:
    """Tell nobody of a restart."""


class Watch:
    """Keeps one unit running until `stop`."""

    def __init__(
        self,
        unit: Unit,
        *,
        changed: Callable[[], None],
        adopted: Child | None = None,
        restarted: Callable[[Unit, str], None] = untold,
    ) -> None:
        """`changed` is called after every change that others may want to see, `restarted` with
        the reason once the process answers again after a restart that nobody asked for."""
        self.unit = unit
        self.state = State.WAITING
        self.reason = ""
        self.restarts = 0
        self.adopted = adopted is not None
        self.child = adopted
        self.answered = asyncio.Event()
        """Set when the process has answered for the first time, or has failed for good."""
        self._changed = changed
        self._restarted = restarted
        self._mended = ""
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._again = asyncio.Event()
        self._loop = RestartLoop()

    @property
    def failed(self) -> bool:
        """True when starting was given up until a person asks for it."""
        return self.state is State.FAILED

    @property
    def alert(self) -> str:
        """What a person must look at: a restart loop, a start given up; empty while nothing is."""
        return self.reason if self.failed else self._loop.alert(time.monotonic())

    def begin(self) -> None:
        """Start watching in the background."""
        self._task = asyncio.create_task(self._run(), name=f"watch {self.unit.name}")

    def restart(self) -> None:
        """Stop the process in order and start it again."""
        self._again.set()

    async def stop(self, *, grace: bool = True) -> None:
        """End the process for good: in order, or at once."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._set(State.STOPPING)
        await self._end(self.unit.stop_seconds if grace else 0.0)
        self._set(State.STOPPED)

    async def _run(self) -> None:
        backoff = BACKOFF_FIRST
        tries = 0
        while True:
            began = time.monotonic()
            reason, code = await self._one_life()
            await asyncio.to_thread(self._clean_up)
            steady = time.monotonic() - began > STEADY_SECONDS
            tries += 1
            if code == BAD_SETTING or (not self.answered.is_set() and tries >= START_TRIES):
                await self._given_up(reason)
                reason = ""
            self.restarts += 1
            if reason:
                self._loop.restarted(time.monotonic(), reason)
                self._mended = reason
            else:
                self._loop.forgive()
            backoff = BACKOFF_FIRST if steady or not reason else min(backoff * 2, BACKOFF_LAST)
            self._set(State.RESTARTING, reason)
            if reason:
                await asyncio.sleep(backoff)

    async def _given_up(self, reason: str) -> None:
        """Tell it once and wait until a person asks for a restart."""
        self._again.clear()
        self._set(State.FAILED, reason)
        self.answered.set()
        await self._again.wait()

    async def _one_life(self) -> tuple[str, int | None]:
        """Run the process once; return why it ended (empty: it was asked to) and its exit code."""
        self._again.clear()
        try:
            if self.child is None or not self.child.alive():
                await self._spawn()
            self._set(State.STARTING)
            ended = await self._until_it_answers()
            if ended is None:
                self.answered.set()
                self._set(State.LIVE)
                self._tell_of_restart()
                ended = await self._while_it_answers()
        except ServerFailed as error:
            return str(error), None
        return ended, self.child.exit_code() if self.child else None

    def _tell_of_restart(self) -> None:
        if self._mended:
            self._restarted(self.unit, self._mended)
            self._mended = ""

    async def _spawn(self) -> None:
        self.adopted = False
        if self.unit.port and not is_free(self.unit.port):
            raise ServerFailed(port_taken(self.unit.name, self.unit.port))
        await asyncio.to_thread(self.unit.prepare)
        self.child = Child.spawn(self.unit)
        self._changed()

    async def _until_it_answers(self) -> str | None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            ended = await self._ended()
            if ended is not None:
                return ended
            failure = await _ask(self.unit.live)
            if failure is None:
                return None
            if time.monotonic() > deadline:
                return f"{self.unit.name} does not answer after {START_SECONDS:.0f} s: {failure}"
            await asyncio.sleep(POLL_SECONDS)

    async def _while_it_answers(self) -> str:
        misses = 0
        while True:
            failure = await _ask(self.unit.live)
            misses = misses + 1 if failure else 0
            if misses >= PROBE_FAILURES:
                return f"{self.unit.name} hangs: {failure}"
            if not failure:
                unready = await _ask(self.unit.ready)
                self._set(State.LIVE if unready else State.READY, unready or "")
            deadline = time.monotonic() + (
                PROBE_SECONDS if self.state is State.READY else PROBE_SECONDS / 4
            )
            while time.monotonic() < deadline:
                ended = await self._ended()
                if ended is not None:
                    return ended
                await asyncio.sleep(POLL_SECONDS)

    async def _ended(self) -> str | None:
        if self._again.is_set():
            self._set(State.STOPPING)
            await self.unit.retire()
            await self._end(self.unit.stop_seconds)
            return ""
        code = self.child.exit_code() if self.child else -1
        if code is None:
            return None
        log = self.unit.command.log
        said = last_line(log) if log else ""
        how = f"was killed by {signal.Signals(-code).name}" if code < -1 else f"ended with {code}"
        return f"{self.unit.name} {how}{': ' + said if said and code > 0 else ''}"

    def _clean_up(self) -> None:
        if self.child is not None:
            self.child.kill()

    async def _end(self, grace: float) -> None:
        child = self.child
        if child is None or not child.alive():
            return
        child.signal(self.unit.command.stop_signal)
        deadline = time.monotonic() + grace
        while child.alive():
            if time.monotonic() >= deadline:
                child.kill()
            await asyncio.sleep(POLL_SECONDS / 4)

    def _set(self, state: State, reason: str = "") -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._changed()


async def _ask(probe: Probe) -> str | None:
    """Return why the probe failed, None when it did not."""
    try:
        await probe()
    except NotReady as reason:
        return str(reason)
    return None
