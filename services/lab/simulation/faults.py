"""Everything that can go wrong, when it does, and how often it did. All of it from the seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection
from enum import StrEnum


class Fault(StrEnum):
    """One kind of fault."""

    LOST_REQUEST = "lost_request"
    LOST_REPLY = "lost_reply"
    LOST_REPLY_TWICE = "lost_reply_twice"
    LATE_ARRIVAL = "late_arrival"
    REFUSED = "refused"
    SERVER_ERROR = "server_error"
    UNPARSABLE = "unparsable_answer"
    READ_FAILED = "read_failed"
    SNAPSHOT_TORN = "snapshot_torn"
    MAINTENANCE = "venue_maintenance"
    CLOCK_SKEW = "clock_skew"
    STREAM_DELAYED = "stream_delayed"
    STREAM_DUPLICATED = "stream_duplicated"
    STREAM_REORDERED = "stream_reordered"
    STREAM_CLOSED = "stream_closed"
    STORE_BEFORE = "store_failed_before_commit"
    STORE_AFTER = "store_failed_after_commit"
    STORE_GONE = "store_gone"
    BUS_GONE = "bus_gone"
    SIGNAL_LATE = "signals_late"
    SIGNAL_REPEATED = "signals_repeated"
    LEDGER_DISORDER = "ledger_disorder"
    PRICE_GAP = "price_gap"
    THIN_MARKET = "thin_market"
    MANUAL_TRADE = "manual_trade"
    OPERATOR = "operator_command"
    DRAIN = "drain"
    CRASH = "crash"
    FREEZE = "freeze"


KINDS = tuple(Fault)
_LEVELS = (0.0, 0.0, 0.3, 1.0, 2.5)
"""Intensity that a seed gives a kind, relative to its usual chance."""


class Faults:
    """Whether a fault strikes now. Each kind draws from numbers of its own, so that switching one
    off leaves the others as they were."""

    def __init__(self, seed: int, off: Collection[Fault] = ()) -> None:
        self.seed = seed
        self.off = frozenset(off)
        self.counts: Counter[str] = Counter()
        self.quiet = False
        """True at the end, when everything must settle."""
        self._streams = {kind: random.Random(f"{seed}.{kind}") for kind in KINDS}  # noqa: S311
        self._levels = {kind: self._streams[kind].choice(_LEVELS) for kind in KINDS}
        self._drawn = {kind: (self._streams[kind].random, self._levels[kind]) for kind in KINDS}
        self.dice = random.Random(f"{seed}.weather")  # noqa: S311 - seeded on purpose
        """Latencies and other harmless chance."""

    def strikes(self, kind: Fault, chance: float) -> bool:
        """Tell whether a fault happens, and count it."""
        draw, level = self._drawn[kind]
        if draw() >= chance * level:
            return False
        if self.quiet or kind in self.off:
            return False
        self.counts[kind] += 1
        return True

    def level(self, kind: Fault) -> float:
        """Return how much of a kind the seed wants; 0 when it is off."""
        return 0.0 if kind in self.off else self._levels[kind]

    def stream(self, kind: Fault) -> random.Random:
        """Return the numbers of a kind, for what its faults look like."""
        return self._streams[kind]
