"""Sends messages about alerts: every channel at its own pace, tried again, never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from services.analytics.alerts.channels import Alertmanager, Channel, NotSent
from services.analytics.alerts.store import Delivery
from services.analytics.core.alerting.kinds import Severity
from services.analytics.core.alerting.message import Notice, State, pause_after
from services.analytics.metrics import AnalyticsMetrics
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

NOT_DELIVERED = "AlertNotDelivered"


class Post:
    """The channels of this process, one queue each."""

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        clock: Clock,
        metrics: AnalyticsMetrics,
        send_from: Severity,
    ) -> None:
        """With an Alertmanager it alone sends; the others do when it does not take a message."""
        self._all = {channel.name: channel for channel in channels}
        manager = [c.name for c in channels if isinstance(c, Alertmanager)]
        self._first = tuple(manager) or tuple(self._all)
        self._second = tuple(name for name in self._all if name not in self._first)
        self._clock = clock
        self._metrics = metrics
        self._send_from = send_from
        self._queues: dict[str, asyncio.Queue[Notice]] = {n: asyncio.Queue() for n in self._all}
        self._seen: set[tuple[str, str, State]] = set()
        self._standing: dict[str, Notice] = {}
        self._results: dict[tuple[str, str, State], Delivery] = {}
        self.broken: dict[str, str] = {}
        """Channels that gave up on a message and have taken none since, with the reason."""

    def put(self, notices: Iterable[Notice]) -> None:
        """Have messages sent; each is sent once through a channel."""
        for notice in notices:
            if notice.severity.rank >= self._send_from.rank:
                self._enqueue(notice, self._first)

    def resume(self, waiting: Iterable[tuple[str, Notice]]) -> None:
        """Go on with messages that an earlier process did not get rid of."""
        for channel, notice in waiting:
            if channel in self._all:
                self._enqueue(notice, (channel,))

    def stand(self, notices: Iterable[Notice]) -> None:
        """Take what holds now: Alertmanager wants to be told of it again and again."""
        self._standing = {notice.alert_id: notice for notice in notices}

    def results(self) -> list[Delivery]:
        """Return what became of messages since the last call."""
        found, self._results = list(self._results.values()), {}
        return found

    def keep(self, results: Iterable[Delivery]) -> None:
        """Take results back that could not be written."""
        self._results = {(d.alert_id, d.channel, d.state): d for d in results} | self._results

    def forget(self, alert_ids: Iterable[str]) -> None:
        """Drop what is remembered of alerts that are over and told."""
        gone = set(alert_ids)
        self._seen = {key for key in self._seen if key[0] not in gone}

    async def run(self) -> None:
        """Send, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait())  # also where there is no channel
            for channel in self._all.values():
                group.create_task(self._work(channel))
            for channel in self._all.values():
                if isinstance(channel, Alertmanager):
                    group.create_task(self._stand(channel))

    def _enqueue(self, notice: Notice, channels: Iterable[str]) -> None:
        for name in channels:
            key = (notice.alert_id, name, notice.state)
            if key in self._seen or (notice.alert_type, notice.component) == (NOT_DELIVERED, name):
                continue
            self._seen.add(key)
            self._results[key] = Delivery(notice.alert_id, name, notice.state, "waiting")
            self._queues[name].put_nowait(notice)

    async def _work(self, channel: Channel) -> None:
        while True:
            await self._deliver(channel, await self._queues[channel.name].get())

    async def _deliver(self, channel: Channel, notice: Notice) -> None:
        tried = Delivery(notice.alert_id, channel.name, notice.state, "waiting")
        pause: float | None = 0.0
        while pause is not None:
            await self._clock.sleep(pause)
            now = self._clock.now().timestamp()
            tried = replace(tried, attempts=tried.attempts + 1, tried_at=now)
            error = await _failure(channel, notice)
            if not error:
                self.broken.pop(channel.name, None)
                return self._told(replace(tried, status="delivered", error=""))
            pause = pause_after(tried.attempts)
            self._told(replace(tried, error=error))
        log.error("alert_not_delivered", channel=channel.name, alert=notice.alert_id, error=error)
        self.broken[channel.name] = error
        self._told(replace(tried, status="failed", error=error))
        if channel.name in self._first and self._second:
            self._enqueue(notice, self._second)
        return None

    def _told(self, delivery: Delivery) -> None:
        self._results[(delivery.alert_id, delivery.channel, delivery.state)] = delivery
        if delivery.status != "waiting":
            self._metrics.deliveries.labels(delivery.channel, delivery.status).inc()

    async def _stand(self, channel: Alertmanager) -> None:
        while True:
            await self._clock.sleep(_AGAIN_SECONDS)
            now = self._clock.now().timestamp()
            for notice in list(self._standing.values()):
                if notice.severity.rank >= self._send_from.rank:
                    await _failure(channel, replace(notice, time=now))


_AGAIN_SECONDS = 60.0


async def _failure(channel: Channel, notice: Notice) -> str:
    """Return why a message was not taken; empty when it was."""
    try:
        await channel.send(notice)
    except NotSent as error:
        return str(error)
    except Exception as error:
        # a defect of one channel must not end the others
        log.exception("alert_channel_failed", channel=channel.name)
        return type(error).__name__
    return ""
