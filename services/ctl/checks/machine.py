"""Is this machine, are its settings and its keys fit to trade: judged. Pure."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.ctl.checks.daily import LOW_DISK, NO_DISK, Disk, size
from services.ctl.checks.verdict import FAIL, LOOK, OK, Check

PYTHON = (3, 11)
CORES = 2
MEMORY = 2_000_000_000
"""Bytes: a whole system takes about one and a half gigabytes."""
OPEN_FILES = 4_096
"""PostgreSQL and the proxies have a few hundred each."""
SKEW_SECONDS = 0.5
"""Requests are signed for 1.5 s: a clock that is off by a third of it is corrected in time."""
REFUSED_SKEW_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Machine:
    """What was seen of the machine."""

    python: tuple[int, int]
    cores: int
    memory: int
    """Bytes that processes may have now."""
    disk: Disk
    open_files: int
    """Soft limit of file descriptors."""
    ports_taken: Sequence[str] = ()
    """Ports that people know and that something else listens on."""
    programs: Mapping[str, str] = field(default_factory=dict)
    """Version or path by program; empty for one that is missing."""
    optional: Mapping[str, str] = field(default_factory=dict)
    """The same of programs that are used where they are found; else how to get them."""


@dataclass(frozen=True, slots=True)
class Configured:
    """What was seen of the settings."""

    problems: Sequence[str]
    """Lines that services wrote about them; empty when all take them."""
    given: Sequence[str]
    """Names in the settings file."""
    known: Sequence[str]
    """Names that some process reads."""
    floor: float | None = None
    """MIN_CONFIDENCE_THRESHOLD."""
    quantiles: Sequence[tuple[float, float]] = ()
    """Of the active artifact: (share of candles, confidence that they reached)."""


def judge_machine(seen: Machine) -> list[Check]:
    """Return the checks of the machine."""
    version = ".".join(map(str, seen.python))
    share = seen.disk.free / seen.disk.total if seen.disk.total else 0.0
    checks = [
        _least("python", seen.python >= PYTHON, version, "install Python 3.11 or newer"),
        _least("cores", seen.cores >= CORES, str(seen.cores), "two or more are needed", LOOK),
        _least("memory", seen.memory >= MEMORY, size(seen.memory), "end other programs", LOOK),
        _least("disk", share >= NO_DISK, f"{size(seen.disk.free)} free", "make room"),
        _least(
            "open files",
            seen.open_files >= OPEN_FILES,
            str(seen.open_files),
            f"ulimit -n {OPEN_FILES}",
        ),
        _least(
            "ports",
            not seen.ports_taken,
            f"in use: {', '.join(seen.ports_taken)}" if seen.ports_taken else "free, or ours",
            "stop what listens there, or `qt up --ports auto`",
        ),
    ]
    if NO_DISK <= share < LOW_DISK:
        checks[3] = Check("disk", LOOK, f"{size(seen.disk.free)} free", "make room")
    for name, found in seen.programs.items():
        checks.append(_least(name, bool(found), found or "is missing", "make install"))
    checks += [Check(name, OK, found) for name, found in seen.optional.items()]
    return checks


def judge_settings(seen: Configured) -> list[Check]:
    """Return the checks of the settings."""
    checks = [Check("settings", FAIL, problem, "mend .env") for problem in seen.problems]
    for name in sorted(set(seen.given) - set(seen.known)):
        near = difflib.get_close_matches(name, seen.known, 1)
        meant = f"; {near[0]}?" if near else ""
        checks.append(Check("settings", LOOK, f"nobody reads {name}{meant}", "mend .env"))
    if not checks:
        checks = [Check("settings", OK, f"{len(seen.given)} given, all are read")]
    return [*checks, _floor(seen)]


def share_above(floor: float, quantiles: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return between which shares of candles reach a confidence, by what is known out of sample.

    Shares between two quantiles are interpolated, and then both numbers are one.
    """
    known = sorted(quantiles)
    if not known:
        return 0.0, 1.0
    (least, highest), (most, lowest) = known[0], known[-1]
    if floor > highest:
        return 0.0, least
    if floor < lowest:
        return most, 1.0
    for (share, upper), (more, lower) in itertools.pairwise(known):
        if lower <= floor <= upper:
            inside = (upper - floor) / (upper - lower) if upper > lower else 0.0
            found = share + (more - share) * inside
            return found, found
    return least, least


def _floor(seen: Configured) -> Check:
    name = "confidence floor"
    if seen.floor is None:
        return Check(name, OK, "none; SIGNAL_SHARE alone decides")
    low, high = share_above(seen.floor, seen.quantiles)
    if high <= low:
        told = f"{seen.floor:g} lets {low:.2%} of the candles through"
    elif low <= 0:
        told = f"{seen.floor:g} lets less than {high:.2%} of the candles through"
    else:
        told = f"{seen.floor:g} lets more than {low:.2%} of the candles through"
    rare = high <= 0.001
    return Check(name, LOOK if rare else OK, told, "unset MIN_CONFIDENCE_THRESHOLD" if rare else "")


def judge_keys(venue: str, rights: Mapping[str, Any], skew: float | None) -> list[Check]:
    """Return the checks of an account's key: its rights as Binance names them, and the clock.

    A key that can move money away is refused: trading needs no such right.
    """
    if venue == "paper":
        return [Check("keys", OK, "the paper exchange needs none")]
    checks = []
    if rights.get("missing"):
        return [Check("keys", FAIL, "no key is set", "set BINANCE_API_KEY and BINANCE_API_SECRET")]
    if rights.get("error"):
        return [Check("keys", FAIL, str(rights["error"]), "make a new key, mend .env")]
    for right, what in _TOO_MUCH.items():
        if rights.get(right):
            told = f"the key may {what}: it is refused"
            checks.append(Check("keys", FAIL, told, "take that right away at the exchange"))
    if "enableFutures" in rights and not rights["enableFutures"]:
        checks.append(Check("keys", FAIL, "the key may not trade futures", "allow it there"))
    if "ipRestrict" in rights and not rights["ipRestrict"]:
        told = "the key works from any address"
        checks.append(Check("keys", LOOK, told, "bind it to this machine's address there"))
    if skew is None:
        return [*checks, Check("keys", LOOK, "set, and not asked about", "qt doctor --keys")]
    return [*(checks or [Check("keys", OK, f"usable at {venue}, no more")]), _skew(skew)]


_TOO_MUCH = {
    "enableWithdrawals": "withdraw",
    "enableInternalTransfer": "transfer between accounts",
    "permitsUniversalTransfer": "transfer between wallets",
}


def _skew(skew: float) -> Check:
    told = f"{abs(skew):.3f} s {'behind' if skew > 0 else 'ahead of'} the exchange"
    if abs(skew) >= REFUSED_SKEW_SECONDS:
        return Check("clock", FAIL, told, "start a time service (chrony)")
    return Check("clock", LOOK if abs(skew) >= SKEW_SECONDS else OK, told)


def _least(name: str, enough: bool, told: str, do: str, state: str = FAIL) -> Check:
    return Check(name, OK, told) if enough else Check(name, state, told, do)
