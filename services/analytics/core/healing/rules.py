"""What is asked of the supervisor for a sick replica. Pure; times are wall seconds handed in.

Never a healing loop: a replica is healed at most `most` times within `window_seconds`, with
`cooldown_seconds` between two times, and one replica of a service at a time. After the last time
hands are kept off until it has been well for `well_seconds`, or a person says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

Who = tuple[str, str]
"""Service and instance."""


class Action(StrEnum):
    """What a supervisor can do."""

    RESTART = "RESTART"
    TAKE_OVER = "TAKE_OVER"
    """Restart of a leader in order: its standby leads at once."""
    DRAIN = "DRAIN"
    """Out of rotation: callers go to the other replicas."""
    RETURN = "RETURN"
    """Into rotation again."""


@dataclass(frozen=True, slots=True)
class HealingLimits:
    """How often and how soon."""

    cooldown_seconds: float = 60.0
    most: int = 3
    window_seconds: float = 900.0
    well_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Sick:
    """A replica whose cause a restart can mend."""

    service: str
    instance: str
    reason: str
    leads: bool = False
    """It is a leader and has a standby that is well."""
    others_well: bool = False
    """Another replica of its service is well."""

    @property
    def who(self) -> Who:
        """Service and instance."""
        return (self.service, self.instance)


@dataclass(frozen=True, slots=True)
class History:
    """What was done for one replica."""

    asked: tuple[float, ...] = ()
    """When it was asked for, within the window."""
    touched_at: float = 0.0
    """When a supervisor last started it again, asked or not."""
    given_up: bool = False
    reason: str = ""
    """Why it was given up."""
    drained: bool = False
    well_since: float | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to ask of a supervisor."""

    action: Action
    service: str
    instance: str
    reason: str


Histories = Mapping[Who, History]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be asked now, and what is to be remembered."""

    orders: tuple[Order, ...] = ()
    histories: dict[Who, History] = field(default_factory=dict)


def decide(
    before: Histories,
    sick: Sequence[Sick],
    well: Iterable[Who],
    *,
    now: float,
    limits: HealingLimits,
) -> Decision:
    """Return what is to be done now. `well` are the replicas that are healthy."""
    histories = {who: _later(history, now, limits) for who, history in before.items()}
    orders: list[Order] = []
    healthy = set(well) - {patient.who for patient in sick}
    for who, history in list(histories.items()):
        if who in healthy:
            histories[who], returned = _recovered(history, who, now, limits)
            orders += returned
        else:
            histories[who] = replace(history, well_since=None)
    busy = {who[0] for who, h in histories.items() if now - _last(h) < limits.cooldown_seconds}
    # who was healed longest ago comes first, so that one bad replica does not keep the others ill
    for patient in sorted(sick, key=lambda p: (_last(histories.get(p.who, History())), p.who)):
        history = histories.get(patient.who, History())
        if history.given_up:
            histories[patient.who], drains = _set_aside(history, patient)
            orders += drains
        elif patient.service in busy:
            continue
        elif len(history.asked) >= limits.most:
            histories[patient.who] = replace(history, given_up=True, reason=patient.reason)
        else:
            busy.add(patient.service)
            histories[patient.who] = replace(history, asked=(*history.asked, now))
            action = Action.TAKE_OVER if patient.leads else Action.RESTART
            orders.append(Order(action, *patient.who, patient.reason))
    return Decision(tuple(orders), histories)


def touched(before: Histories, who: Who, at: float) -> dict[Who, History]:
    """Take note that a supervisor started a replica again."""
    history = before.get(who, History())
    return {**before, who: replace(history, touched_at=max(history.touched_at, at))}


def forgive(before: Histories, who: Who) -> dict[Who, History]:
    """Begin anew with a replica: a person has looked at it."""
    return {key: h for key, h in before.items() if key != who}


def _last(history: History) -> float:
    return max((history.touched_at, *history.asked))


def _later(history: History, now: float, limits: HealingLimits) -> History:
    kept = tuple(at for at in history.asked if now - at < limits.window_seconds)
    return history if kept == history.asked else replace(history, asked=kept)


def _recovered(
    history: History, who: Who, now: float, limits: HealingLimits
) -> tuple[History, list[Order]]:
    if history.well_since is None:
        return replace(history, well_since=now), []
    if not history.given_up or now - history.well_since < limits.well_seconds:
        return history, []
    fresh = History(touched_at=history.touched_at, well_since=history.well_since)
    if not history.drained:
        return fresh, []
    return fresh, [Order(Action.RETURN, *who, f"well for {limits.well_seconds:.0f} s")]


def _set_aside(history: History, patient: Sick) -> tuple[History, list[Order]]:
    """A replica that could not be healed leaves rotation while others can do its work."""
    if history.drained or not patient.others_well:
        return history, []
    order = Order(Action.DRAIN, *patient.who, f"given up: {patient.reason}")
    return replace(history, drained=True), [order]
