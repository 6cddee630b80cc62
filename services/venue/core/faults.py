"""Faults that the venue is told to have, as values: what is hit, how often, and how long.

A pure register: time is given to it in seconds of any clock that never goes backwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

PAPER_POINT = "paperPoint"
"""Event of the clock's own socket: a fault hits it only when it names it."""


class FaultKind(StrEnum):
    """What goes wrong."""

    REQUEST_DELAY = "request_delay"
    REQUEST_DROP = "request_drop"
    REQUEST_DUPLICATE = "request_duplicate"
    REPLY_DELAY = "reply_delay"
    REPLY_DROP = "reply_drop"
    REPLY_REORDER = "reply_reorder"
    ERROR = "error"
    STREAM_DELAY = "stream_delay"
    STREAM_DROP = "stream_drop"
    STREAM_DUPLICATE = "stream_duplicate"
    STREAM_REORDER = "stream_reorder"
    CLOSE_SOCKETS = "close_sockets"
    SILENCE = "silence"
    SKEW = "skew"
    BAN = "ban"
    MAINTENANCE = "maintenance"
    GAP = "gap"
    PARTIAL = "partial"

    @property
    def lasting(self) -> bool:
        """True for a condition of the venue: it holds until removed or until its time is over."""
        return self in _LASTING

    @property
    def of_market(self) -> bool:
        """True when it changes prices or fills: it is journaled and survives a restart."""
        return self in (FaultKind.GAP, FaultKind.PARTIAL)


_LASTING = (FaultKind.SILENCE, FaultKind.SKEW, FaultKind.BAN, FaultKind.MAINTENANCE)


class FaultBody(StrEnum):
    """What stands in the body of a wrong answer."""

    JSON = "json"
    HTML = "html"
    BROKEN = "broken"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Subject:
    """A request or a stream message that a fault may hit. Empty: it has no such thing."""

    method: str = ""
    path: str = ""
    event: str = ""
    symbol: str = ""
    side: str = ""
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests or messages a fault hits. Empty fields match everything."""

    method: str = ""
    """REST method."""
    path: str = ""
    """Whole path, or its last parts, such as `order`."""
    event: str = ""
    """Type of a stream event, such as ORDER_TRADE_UPDATE or kline."""
    symbol: str = ""
    side: str = ""
    client_id: str = ""
    """Beginning of the client id, which tells an order's purpose."""

    def hits(self, subject: Subject) -> bool:
        """Tell whether a request or message is meant."""
        if subject.event == PAPER_POINT and self.event != PAPER_POINT:
            return False
        same = (
            self.method in ("", subject.method)
            and self.event in ("", subject.event)
            and self.symbol in ("", subject.symbol)
            and self.side in ("", subject.side)
        )
        return same and self._hits_path(subject.path) and self._hits_client(subject.client_id)

    def _hits_path(self, path: str) -> bool:
        return not self.path or path == self.path or path.endswith("/" + self.path.lstrip("/"))

    def _hits_client(self, client_id: str) -> bool:
        return client_id.startswith(self.client_id)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault as it was asked for. Parameters that its kind does not use are ignored."""

    fault_id: str
    kind: FaultKind
    match: Match = Match()
    times: int = 1
    """How often it strikes; 0: until it is removed or over."""
    skip: int = 0
    """How many matching requests or messages pass before it strikes first."""
    seconds: float = 0.0
    """Wall time until it is over by itself; 0: never."""
    delay_ms: int = 250
    status: int = 400
    code: int = -1000
    message: str = ""
    body: FaultBody = FaultBody.JSON
    carried_out: bool = False
    """An error or a silence that comes after the request was carried out."""
    retry_after: int = 0
    """Seconds in the header Retry-After; 0: none."""
    offset_ms: int = 0
    """How far the venue's clock is ahead."""
    amount: Decimal = Decimal(0)
    """Relative jump of a gap; share of an order that may fill in a step of a partial fill."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A fault in force."""

    fault: Fault
    seen: int = 0
    """Matching requests or messages so far."""
    used: int = 0
    """How often it struck."""
    ends_at: float | None = None

    def over(self, now: float) -> bool:
        """Tell whether it has struck often enough or its time is up."""
        worn = 0 < self.fault.times <= self.used
        return worn or (self.ends_at is not None and now >= self.ends_at)


class FaultRegistry:
    """The faults in force, in the order in which they came."""

    def __init__(self) -> None:
        self._standing: dict[str, Standing] = {}

    @property
    def empty(self) -> bool:
        """True when no fault is kept, over or not."""
        return not self._standing

    def add(self, fault: Fault, now: float) -> Standing:
        """Put a fault in force; one with the same id is replaced."""
        ends_at = now + fault.seconds if fault.seconds else None
        self._standing[fault.fault_id] = Standing(fault, ends_at=ends_at)
        return self._standing[fault.fault_id]

    def remove(self, fault_id: str) -> Fault | None:
        """End a fault; None when it is not in force."""
        found = self._standing.pop(fault_id, None)
        return found.fault if found else None

    def expire(self, now: float) -> list[Fault]:
        """Remove the faults that are over, and return them."""
        done = [one.fault for one in self._standing.values() if one.over(now)]
        for fault in done:
            del self._standing[fault.fault_id]
        return done

    def standing(self, now: float) -> list[Standing]:
        """Return the faults in force."""
        return [one for one in self._standing.values() if not one.over(now)]

    def next_end(self) -> float | None:
        """Return when the next fault ends by itself; None when none does."""
        ends = (one.ends_at for one in self._standing.values())
        return min((end for end in ends if end is not None), default=None)

    def strike(
        self, kinds: Iterable[FaultKind], subject: Subject, now: float, **wanted: bool
    ) -> Fault | None:
        """Return the first fault of these kinds that hits, and count it as used once.

        `carried_out` narrows to faults that come before or after the request is carried out.
        """
        found = None
        allowed = set(kinds)
        for one in self.standing(now):
            fault = one.fault
            if fault.kind not in allowed or not fault.match.hits(subject):
                continue
            if wanted.get("carried_out", fault.carried_out) is not fault.carried_out:
                continue
            strikes = found is None and one.seen >= fault.skip
            if strikes:
                found = fault
            self._standing[fault.fault_id] = replace(
                one, seen=one.seen + 1, used=one.used + strikes
            )
        return found

    def offset_ms(self, now: float) -> int:
        """Return how far the venue's clock is ahead, all faults together."""
        return sum(s.fault.offset_ms for s in self.standing(now) if s.fault.kind is FaultKind.SKEW)
