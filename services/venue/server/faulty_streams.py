"""Stream messages under faults: dropped, told twice, late, or in another order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.venue.core.faults import PAPER_POINT, Fault, FaultKind, Subject
from services.venue.server.fault_host import FaultHost
from services.venue.server.sockets import Parcel, Socket, encode

_FATES = (FaultKind.STREAM_DUPLICATE, FaultKind.STREAM_REORDER, FaultKind.STREAM_DELAY)


@dataclass(frozen=True, slots=True)
class Sockets:
    """The open sockets of the three kinds."""

    user: set[Socket]
    market: set[Socket]
    paper: set[Socket]


class FaultyStreams:
    """Decides once for each message what becomes of it, whoever listens."""

    def __init__(self, host: FaultHost, sockets: Sockets) -> None:
        self._host = host
        self.sockets = sockets

    def post(self, message: Mapping[str, Any] | list[Any]) -> list[Parcel]:
        """Return what is sent of a message: nothing, one parcel, or two."""
        if self._host.quiet:
            return [Parcel(encode(message))]
        subject = _subject(message)
        for kind in (FaultKind.SILENCE, FaultKind.MAINTENANCE, FaultKind.STREAM_DROP):
            if self._host.strike(kind, subject) is not None:
                return []
        text = encode(message)
        struck = {kind: self._host.strike(kind, subject) for kind in _FATES}
        late, swapped = struck[FaultKind.STREAM_DELAY], struck[FaultKind.STREAM_REORDER]
        parcel = Parcel(
            text,
            delay_ms=late.delay_ms if late else 0,
            swap_ms=swapped.delay_ms if swapped else 0,
        )
        return [parcel, Parcel(text)] if struck[FaultKind.STREAM_DUPLICATE] else [parcel]

    def posts(self, messages: Iterable[Mapping[str, Any] | list[Any]]) -> list[Parcel]:
        """Return what is sent of several messages."""
        return [parcel for message in messages for parcel in self.post(message)]

    async def close(self, fault: Fault) -> None:
        """Close the sockets that a fault means: user, market or, only by name, paper."""
        chosen = {
            "user": self.sockets.user,
            "market": self.sockets.market,
            PAPER_POINT: self.sockets.paper,
        }
        for kind, sockets in chosen.items():
            if fault.match.hits(Subject(event=kind)):
                for socket in list(sockets):
                    await socket.close()

    def refuses(self, kind: str) -> bool:
        """Tell whether a new socket of a kind (`user`, `market`, `paperPoint`) is refused now."""
        subject = Subject(event=kind)
        kinds = (FaultKind.CLOSE_SOCKETS, FaultKind.MAINTENANCE)
        return any(self._host.strike(one, subject) is not None for one in kinds)

    async def until_heard(self, kind: str) -> bool:
        """Return when the venue is not silent to sockets of a kind; tell whether it was."""
        return await self._host.until_over(FaultKind.SILENCE, Subject(event=kind))


def _subject(message: Mapping[str, Any] | list[Any]) -> Subject:
    first = (message[0] if message else {}) if isinstance(message, list) else message
    body = first.get("o") if isinstance(first.get("o"), dict) else {}
    assert isinstance(body, dict)  # noqa: S101 - just made sure
    return Subject(
        event=str(first.get("e", "")),
        symbol=str(first.get("s") or body.get("s") or ""),
        side=str(body.get("S", "")),
        client_id=str(body.get("c") or body.get("caid") or ""),
    )
