"""An event loop whose time jumps to the next timer: no waiting, no sockets, the same every time.

Every callback belongs to an owner (a replica, or the world). An owner can be parked, as SIGSTOP
does, and let go on, and what it would have done meanwhile then happens in the order it was due. An
owner that is parked for ever is a process that was killed at that very await.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

OWNER: contextvars.ContextVar[str] = contextvars.ContextVar("owner", default="")
"""Whose code runs; empty for the world around the replicas."""
_SPIN_LIMIT = 200_000


class Spinning(Exception):
    """Callbacks follow each other without time passing."""


class Stopped(Exception):
    """Nothing is left to run, but the main task has not ended."""


class VirtualHandle:
    """One callback that is due. Without a context it belongs to the world."""

    __slots__ = ("args", "callback", "context", "dropped", "moment", "owner")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        moment: float = 0.0,
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.owner = "" if context is None else context.get(OWNER, "")
        self.moment = moment
        self.dropped = False

    def run(self) -> None:
        """Do it."""
        if self.context is None:
            self.callback(*self.args)
        else:
            self.context.run(self.callback, *self.args)

    def cancel(self) -> None:
        """Never run it."""
        self.dropped = True

    def cancelled(self) -> bool:
        """Tell whether it was cancelled."""
        return self.dropped

    def when(self) -> float:
        """Return the time at which it is due."""
        return self.moment


class Answer(Generic[T]):
    """What one task waits for and will be given at a known time: a value or an exception.

    It does what a future does for its only waiter, and it is itself what is due: it wakes the task
    as its owner, so that it can be parked and armed at this await. Nothing in it points back at
    it, so that it goes when it was read and not when garbage is searched for.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_context", "_error", "_loop",
                 "_seconds", "_value", "done", "dropped", "owner")  # fmt: skip

    def __init__(self, loop: VirtualLoop, seconds: float | None = None) -> None:
        """`seconds`: it comes so long after somebody began to wait; else `come` says when."""
        self._loop = loop
        self._seconds = seconds
        self._asyncio_future_blocking = False
        self._callback: Callable[[Answer[T]], object] | None = None
        self._context: contextvars.Context | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        self.owner = ""
        self.done = self.dropped = False

    def __await__(self) -> Generator[Answer[T], None, T]:
        self._asyncio_future_blocking = True
        yield self  # an error is thrown in here: the task asks for the result when it is woken
        value: T = self._value
        return value

    def get_loop(self) -> VirtualLoop:
        """Return the loop of the task that waits."""
        return self._loop

    def add_done_callback(
        self, callback: Callable[[Answer[T]], object], *, context: contextvars.Context
    ) -> None:
        """Learn who waits."""
        self._callback, self._context = callback, context
        self.owner = context.get(OWNER, "")
        if self._seconds is not None:
            self._loop.due(self._seconds, self)

    def cancel(self, msg: object = None) -> bool:
        """Stop waiting; what comes then comes to nobody."""
        del msg
        if self.done or self._callback is None:
            return False
        self.done = self.dropped = True
        self._error = asyncio.CancelledError()
        self._loop.call_soon(self._callback, self, context=self._context)
        return True

    def result(self) -> Any:
        """Return what was given, or raise it; once."""
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error  # its traceback would lead back to it

    def come(self, seconds: float, value: T | None, error: BaseException | None = None) -> None:
        """Wake the waiter after virtual seconds with a value, or with an error."""
        if self.done:
            return
        self._value, self._error = value, error
        if self._callback is None:
            self._seconds = seconds
        else:
            self._loop.due(seconds, self)

    def run(self) -> None:
        """Wake the waiter."""
        self.done = True
        if self._callback is not None and self._context is not None:
            self._context.run(self._callback, self)


_Due = VirtualHandle | Answer[Any]


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs one main task to its end; `broken` set by anybody ends it at once."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[_Due] = deque()
        self._timers: list[tuple[float, int, _Due]] = []
        self._place = 0
        self._parked: dict[str, list[_Due]] = {}
        self._armed: dict[str, tuple[int, Callable[[], None]]] = {}
        self._running = False
        self.broken: Exception | None = None

    def time(self) -> float:
        """Return virtual seconds since the start."""
        return self._now

    def get_debug(self) -> bool:
        """Return False: there is no debug mode."""
        return False

    def is_running(self) -> bool:
        """Tell whether callbacks run."""
        return self._running

    def is_closed(self) -> bool:
        """Return False: there is nothing to close."""
        return False

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override] # typeshed knows the generic form only
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """Start a coroutine; its owner is that of its context."""
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_soon(  # type: ignore[override] # the handle is ours
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> VirtualHandle:
        """Run a callback after those that are due already."""
        handle = VirtualHandle(callback, args, context or contextvars.copy_context())
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override] # the handle is ours
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> VirtualHandle:
        """Run a callback after virtual seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override] # the handle is ours
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> VirtualHandle:
        """Run a callback at a virtual time."""
        self._place += 1
        handle = VirtualHandle(callback, args, context or contextvars.copy_context(), when)
        heapq.heappush(self._timers, (when, self._place, handle))
        return handle

    def post(self, delay: float, callback: Callable[[], object]) -> None:
        """Run a callback of the world after virtual seconds, whoever asks for it."""
        self._place += 1
        when = self._now + delay
        heapq.heappush(self._timers, (when, self._place, VirtualHandle(callback, (), None, when)))

    def due(self, delay: float, what: _Due) -> None:
        """Run it after virtual seconds."""
        self._place += 1
        heapq.heappush(self._timers, (self._now + delay, self._place, what))

    async def pause(self, seconds: float) -> None:
        """Wait virtual seconds."""
        answer: Answer[None] = Answer(self, seconds)
        await answer

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Pass over tasks of killed replicas that nobody waits for."""
        del context

    def park(self, owner: str) -> None:
        """Stop everything of an owner where it stands."""
        self._parked.setdefault(owner, [])

    def unpark(self, owner: str) -> None:
        """Let an owner go on with all that was due meanwhile."""
        self._ready.extend(self._parked.pop(owner, ()))

    def owners_parked(self) -> list[str]:
        """Return the owners that are stopped."""
        return list(self._parked)

    def arm(self, owner: str, callbacks: int, action: Callable[[], None]) -> None:
        """Do something right after so many more callbacks of an owner."""
        self._armed[owner] = (callbacks, action)

    def disarm(self, owner: str) -> None:
        """Forget what `arm` asked for."""
        self._armed.pop(owner, None)

    def run_until_complete(self, future: Any) -> Any:
        """Run until the coroutine ends; raise what it raised, or `broken`."""
        task = self.create_task(future)
        self._running = True
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            while not task.done():
                self._run_batch()
        finally:
            asyncio._set_running_loop(before)
            self._running = False
        return task.result()

    def _run_batch(self) -> None:
        ready, timers = self._ready, self._timers
        if not ready:
            while timers and timers[0][2].dropped:
                heapq.heappop(timers)
            if not timers:
                raise Stopped("nothing is due any more")
            self._now = max(self._now, timers[0][0])
            while timers and timers[0][0] <= self._now:
                ready.append(heapq.heappop(timers)[2])
        parked, armed, spins = self._parked, self._armed, 0
        while ready:
            due = ready.popleft()
            if due.dropped:
                continue
            owner = due.owner
            if parked and owner in parked:
                parked[owner].append(due)
                continue
            spins += 1
            if spins > _SPIN_LIMIT:
                raise Spinning(f"{spins} callbacks at {self._now}")
            due.run()
            if self.broken is not None:
                raise self.broken
            if armed and owner in armed:
                self._count_down(owner)

    def _count_down(self, owner: str) -> None:
        left, action = self._armed[owner]
        if left > 1:
            self._armed[owner] = (left - 1, action)
        else:
            del self._armed[owner]
            action()


def new_loop() -> VirtualLoop:
    """Return a loop that begins at 0. What it does not implement nobody here asks for."""
    return VirtualLoop()  # type: ignore[abstract]
