"""Keeps the alerts: compares what holds with what is open, stores the difference, has it told.

It works without PostgreSQL too, from memory: then most of all somebody must be told. What happened
meanwhile is written when it is back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from services.analytics.alerts.post import NOT_DELIVERED, Post
from services.analytics.alerts.store import AlertStore, Change
from services.analytics.core.alerting.book import Key, OpenAlert, Step, adopt, step
from services.analytics.core.alerting.message import Notice, State, notice
from services.analytics.core.alerts import Alert, plain
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import TRANSIENT
from services.kit.postgres.lease import Fenced

log = get_logger(__name__)

_MOST_UNSAVED = 10_000
_PATIENCE_SECONDS = 10.0
"""So long a new process waits for what an earlier one told, before it tells from memory."""


class AlertDesk:
    """The alerts of this replica while it is the one that tells."""

    def __init__(self, *, store: AlertStore, post: Post, runbook_base: str) -> None:
        self._store = store
        self._post = post
        self._runbook_base = runbook_base
        self._open: dict[Key, OpenAlert] = {}
        self._unsaved: list[Change] = []
        self._loaded = False
        self._waits_since: float | None = None

    @property
    def open(self) -> Mapping[Key, OpenAlert]:
        """The alerts that are open, as far as this process knows."""
        return self._open

    def own(self, now: float) -> list[Alert]:
        """Return the alerts about telling itself."""
        return [
            plain(NOT_DELIVERED, channel, f"{channel} took no message: {reason}", now)
            for channel, reason in self._post.broken.items()
        ]

    async def look(
        self, found: Mapping[Key, Alert], now: float, *, leads: bool, stored: bool
    ) -> None:
        """Take what holds now. `leads`: this replica tells; `stored`: PostgreSQL answers."""
        if not leads:
            self._open, self._unsaved, self._loaded = {}, [], False
            self._waits_since = None
            self._post.stand(())
            return
        if stored and not self._loaded:
            await self._load(now)
        if self._must_wait(now):
            return
        changed = step(self._open, found, now)
        self._open = changed.open
        self._unsaved = [*self._unsaved, *_changes(changed, now)][-_MOST_UNSAVED:]
        if stored:
            await self._save()
        self._tell(changed, now)
        if stored:
            await self._record()

    def _must_wait(self, now: float) -> bool:
        """Whether what was told before may still be read; what is not known is told twice."""
        if self._loaded:
            self._waits_since = None
            return False
        if self._waits_since is None:
            self._waits_since = now
        return now - self._waits_since < _PATIENCE_SECONDS

    async def _load(self, now: float) -> None:
        try:
            self._open = adopt(self._open, await self._store.open_alerts())
            self._post.resume(await self._store.waiting(now))
            self._loaded = True
        except TRANSIENT as error:
            log.warning("alerts_not_read", error=str(error))

    async def _save(self) -> None:
        if not self._unsaved:
            return
        try:
            ids = await self._store.save(self._unsaved)
        except Fenced:
            self._loaded = False
            return
        except TRANSIENT as error:
            log.warning("alerts_not_stored", error=str(error))
            return
        self._unsaved = []
        for key, entry in list(self._open.items()):
            if ids.get(entry.alert_id, entry.alert_id) != entry.alert_id:
                self._open[key] = replace(entry, alert_id=ids[entry.alert_id])

    async def _record(self) -> None:
        results = self._post.results()
        try:
            await self._store.record(results)
        except TRANSIENT as error:
            log.warning("deliveries_not_stored", error=str(error))
            self._post.keep(results)

    def _tell(self, changed: Step, now: float) -> None:
        raised = {entry.key for entry in changed.raised}
        self._post.put(
            self._notice(self._open[key], State.RAISED, now) for key in raised & self._open.keys()
        )
        self._post.put(self._notice(entry, State.RESOLVED, now) for entry in changed.resolved)
        self._post.forget(entry.alert_id for entry in changed.resolved)
        self._post.stand(
            self._notice(entry, State.RAISED, now) for entry in self._open.values() if entry.told
        )

    def _notice(self, entry: OpenAlert, state: State, now: float) -> Notice:
        return notice(entry, state, now, self._runbook_base)


def _changes(changed: Step, now: float) -> list[Change]:
    return [
        *(Change(entry, "raised", now) for entry in changed.raised),
        *(Change(entry, "changed", now) for entry in changed.changed),
        *(Change(entry, "resolved", now) for entry in changed.resolved),
    ]
