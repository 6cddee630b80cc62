"""Which artifact answers which candle: pointers, and what a deployment or a rollback makes of them.

A candle is answered by the artifact whose pointer holds at the candle's close, never by the one
that happens to be loaded when the candle arrives: so all replicas switch at the same candle, and a
candle that is delivered again is answered by the same artifact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """What an artifact is used for."""

    CANDIDATE = "CANDIDATE"
    SHADOW = "SHADOW"
    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"


class NothingBefore(ValueError):
    """No artifact was active before the one that is to be taken away."""


class NotActive(ValueError):
    """The artifact that is to be taken away is not the active one."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which artifact is at a stage. Times are market time in milliseconds."""

    version: str
    """Empty: none."""
    sha256: str
    """Of the artifact's graph."""
    previous_version: str
    """Version that was there before; empty for the first."""
    effective_from: int
    changed_by: str
    reason: str
    rolled_back_version: str = ""
    """Version that a rollback took away; empty when the artifact was deployed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An artifact that is to answer the candles that close from a market time on."""

    effective_from: int
    version: str
    """Empty: the one that ships with the service."""
    sha256: str = ""
    """Of its graph; empty: whatever its manifest says."""


SHIPPED = Wanted(0, "")


_HELD = 3
"""Artifacts held for signals: two changes may be under way while the first one still answers."""


def lineup(history: Sequence[Pointer]) -> tuple[Wanted, ...]:
    """Return the artifacts to hold for signals, oldest first: the newest and those before it.

    `history` holds the active pointers, oldest first; without any the shipped artifact answers.
    """
    if not history:
        return (SHIPPED,)
    told = [Wanted(p.effective_from, p.version, p.sha256) for p in history]
    return (Wanted(0, history[0].previous_version), *told)[-_HELD:]


def deployed(
    held: Pointer | None,
    *,
    version: str,
    sha256: str,
    running: str,
    effective_from: int,
    changed_by: str,
    reason: str,
) -> Pointer | None:
    """Return the pointer after a deployment; None when the version is there already.

    `running` is the version at the stage while there is no pointer. A pointer never holds earlier
    than the one before it.
    """
    if (held.version if held else running) == version:
        return None
    earliest = held.effective_from if held else 0
    return Pointer(
        version=version,
        sha256=sha256,
        previous_version=held.version if held else running,
        effective_from=max(effective_from, earliest),
        changed_by=changed_by,
        reason=reason,
    )


def _stack(history: Sequence[Pointer]) -> list[str]:
    """Return the versions that lie below the active one, which is last: what rollbacks lead to.

    A deployment puts a version on top, a rollback takes the top away for good.
    """
    first = history[0]
    found = [first.previous_version] if first.previous_version else []
    for pointer in history:
        if pointer.rolled_back_version and pointer is not first:
            found.pop()
        if not found or found[-1] != pointer.version:
            found.append(pointer.version)
    return found


def rollback_target(history: Sequence[Pointer], version: str) -> str:
    """Return the version that answered before the active one was deployed.

    NotActive when `version` is not active, NothingBefore when there is nothing to go back to.
    """
    held = history[-1] if history else None
    if held is None or held.version != version:
        raise NotActive(f"{version} is not active; {held.version if held else 'none'} is")
    below = _stack(history)[:-1]
    if not below:
        raise NothingBefore(f"nothing was active before {version}")
    return below[-1]


def rolled_back(
    history: Sequence[Pointer],
    *,
    sha256: str,
    effective_from: int,
    changed_by: str,
    reason: str,
) -> Pointer:
    """Return the pointer after the active artifact was taken away."""
    held = history[-1]
    target = rollback_target(history, held.version)
    below = _stack(history)[:-2]
    return Pointer(
        version=target,
        sha256=sha256,
        previous_version=below[-1] if below else "",
        effective_from=max(effective_from, held.effective_from),
        changed_by=changed_by,
        reason=reason,
        rolled_back_version=held.version,
    )


def stage_of(
    version: str, active: Sequence[Pointer], shadow: Pointer | None, running: str
) -> Stage:
    """Return what a version is used for; `running` answers while there is no pointer."""
    current = active[-1].version if active else running
    if version == current:
        return Stage.ACTIVE
    if shadow is not None and version == shadow.version:
        return Stage.SHADOW
    if any(version in (p.version, p.previous_version) for p in active):
        return Stage.RETIRED
    return Stage.CANDIDATE


def effective_after(newest_close: int, step: int, pace: float, notice_seconds: float) -> int:
    """Return the market time from which a change that is decided now may hold.

    At least one whole round after the newest closed candle, and further when market time runs
    fast: `pace` is market milliseconds a second, and `notice_seconds` what replicas need to hear
    of the change and to load what it names.
    """
    bars = max(2, -int(-pace * notice_seconds // step))
    return newest_close + bars * step
