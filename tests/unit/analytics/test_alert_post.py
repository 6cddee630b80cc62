"""Messages are tried again with longer and longer pauses, channel by channel, and never doubled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from services.analytics.alerts.channels import Alertmanager, Channel, NotSent
from services.analytics.alerts.post import Post
from services.analytics.core.alerting.kinds import Severity
from services.analytics.core.alerting.message import MOST_ATTEMPTS, Notice, State
from services.analytics.metrics import AnalyticsMetrics
from services.kit.observe.metrics import Metrics


class QuickClock:
    """A clock whose sleeps are only noted."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0.05 if seconds >= 60 else 0)


class Wall:
    """A channel that takes nothing, or something after a while."""

    def __init__(self, name: str, *, refuse: int = 0, wait: asyncio.Event | None = None) -> None:
        self.name = name
        self.taken: list[Notice] = []
        self.tries = 0
        self._refuse = refuse
        self._wait = wait

    async def send(self, notice: Notice) -> None:
        self.tries += 1
        if self._wait is not None:
            await self._wait.wait()
        if self.tries <= self._refuse:
            raise NotSent("answered 503")
        self.taken.append(notice)


class DeadManager(Alertmanager):
    """An Alertmanager that nobody reaches."""

    async def send(self, notice: Notice) -> None:
        raise NotSent("ClientConnectorError")


def notice(number: int = 1, severity: Severity = Severity.HIGH, kind: str = "X") -> Notice:
    return Notice(f"id-{number}", State.RAISED, kind, severity, "part", "text", 0.0, 0.0, "runbook")


@asynccontextmanager
async def running(channels: Sequence[Channel]) -> AsyncIterator[tuple[Post, QuickClock]]:
    clock = QuickClock()
    post = Post(
        channels,
        clock=clock,
        metrics=AnalyticsMetrics(Metrics("test")),
        send_from=Severity.MEDIUM,
    )
    task = asyncio.create_task(post.run())
    try:
        yield post, clock
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settle() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


async def test_a_failed_message_is_tried_again_and_told_once() -> None:
    wall = Wall("webhook", refuse=3)
    async with running([wall]) as (post, clock):
        post.put([notice(), notice()])
        await settle()
        post.put([notice()])
        await settle()
        assert (len(wall.taken), wall.tries) == (1, 4)
        assert [s for s in clock.slept if 0 < s < 60] == [1.0, 2.0, 4.0]
        (told,) = post.results()
        assert (told.status, told.attempts, told.error) == ("delivered", 4, "")


async def test_a_slow_channel_does_not_hold_up_the_others() -> None:
    never = asyncio.Event()
    slow, quick = Wall("email", wait=never), Wall("webhook")
    async with running([slow, quick]) as (post, _):
        post.put([notice(1), notice(2)])
        await settle()
        assert [n.alert_id for n in quick.taken] == ["id-1", "id-2"]
        assert slow.taken == []


async def test_what_reaches_nobody_is_told_of_but_not_through_that_channel() -> None:
    dead, alive = Wall("email", refuse=MOST_ATTEMPTS), Wall("webhook")
    async with running([dead, alive]) as (post, _):
        post.put([notice()])
        await asyncio.sleep(0.3)
        assert post.broken == {"email": "answered 503"}
        failed = Notice(
            "id-9", State.RAISED, "AlertNotDelivered", Severity.HIGH, "email", "", 0, 0, ""
        )
        post.put([failed])
        await settle()
        assert [n.alert_id for n in alive.taken] == ["id-1", "id-9"]
        assert dead.taken == []
        post.put([notice(3)])
        await settle()
        assert post.broken == {}, "it takes messages again"


async def test_the_others_send_when_alertmanager_takes_nothing() -> None:
    mail = Wall("email")
    async with running([DeadManager("http://127.0.0.1:1"), mail]) as (post, _):
        post.put([notice()])
        await asyncio.sleep(0.3)
        assert [n.alert_id for n in mail.taken] == ["id-1"]
        states = {(d.channel, d.status) for d in post.results()}
        assert states == {("alertmanager", "failed"), ("email", "delivered")}


async def test_people_are_told_from_a_severity_on() -> None:
    wall = Wall("webhook")
    async with running([wall]) as (post, _):
        post.put([notice(1, Severity.LOW), notice(2, Severity.MEDIUM)])
        await settle()
        assert [n.alert_id for n in wall.taken] == ["id-2"]
