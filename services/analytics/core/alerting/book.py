"""Which alerts are open, and what changed at a look. Pure; times are wall seconds handed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from services.analytics.core.alerting.kinds import kind_of
from services.analytics.core.alerts import Alert
from services.trade.ids import digest

Key = tuple[str, str]
"""Kind and component: what makes two alerts the same."""


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert whose cause holds, or is gone for a short time only."""

    alert_id: str
    alert: Alert
    told: bool
    """True once it has held long enough for a person to be told."""
    gone_since: float | None = None
    """Since when its cause is gone."""

    @property
    def key(self) -> Key:
        """Kind and component."""
        return self.alert.key


@dataclass(frozen=True, slots=True)
class Step:
    """What one look changed."""

    open: dict[Key, OpenAlert] = field(default_factory=dict)
    raised: tuple[OpenAlert, ...] = ()
    changed: tuple[OpenAlert, ...] = ()
    """Told before; their text or severity is another one now."""
    resolved: tuple[OpenAlert, ...] = ()


def alert_id(key: Key, since: float) -> str:
    """Return the id of an alert that was raised at this time."""
    return digest("alert", *key, int(since * 1000))


def step(before: Mapping[Key, OpenAlert], found: Mapping[Key, Alert], now: float) -> Step:
    """Compare what is open with what holds now.

    An alert is told once it has held for `hold_seconds` of its kind and resolved once its cause
    was gone for `quiet_seconds`: a cause that comes and goes is one alert, not many.
    """
    open_: dict[Key, OpenAlert] = {}
    raised, changed = [], []
    for key, alert in found.items():
        entry = _held(before.get(key), alert, now)
        open_[key] = entry
        was = before.get(key)
        if entry.told and (was is None or not was.told):
            raised.append(entry)
        elif was is not None and was.told and _differs(was.alert, entry.alert):
            changed.append(entry)
    resolved = []
    for key, entry in before.items():
        if key in found:
            continue
        gone = replace(entry, gone_since=now if entry.gone_since is None else entry.gone_since)
        if now - (gone.gone_since or now) < kind_of(key[0]).quiet_seconds:
            open_[key] = gone
        elif gone.told:
            resolved.append(gone)
    return Step(open_, tuple(raised), tuple(changed), tuple(resolved))


def _held(before: OpenAlert | None, alert: Alert, now: float) -> OpenAlert:
    since = alert.since if before is None else before.alert.since
    told = now - since >= kind_of(alert.type).hold_seconds
    if before is None:
        return OpenAlert(alert_id(alert.key, since), alert, told)
    return replace(
        before, alert=replace(alert, since=since), told=before.told or told, gone_since=None
    )


def _differs(before: Alert, now: Alert) -> bool:
    return (before.severity, before.acted) != (now.severity, now.acted)


def adopt(open_: Mapping[Key, OpenAlert], stored: Iterable[OpenAlert]) -> dict[Key, OpenAlert]:
    """Return the open alerts with those that were stored before: a stored id stays."""
    known = dict(open_)
    for entry in stored:
        mine = known.get(entry.key)
        if mine is None:
            known[entry.key] = entry
        elif mine.alert_id != entry.alert_id:
            known[entry.key] = replace(mine, alert_id=entry.alert_id, told=True)
    return known
