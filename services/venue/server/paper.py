"""What only the paper venue has: its clock, and the socket on which client and market keep step."""

from __future__ import annotations

import asyncio
from typing import Any

from services.venue.exchange import Advance, PaperExchange
from services.venue.pacing import Clockwork
from services.venue.server.faulty_streams import FaultyStreams
from services.venue.server.sockets import Socket
from services.venue.server.streams import Streams


class PaperClock:
    """Tells clients of steps and takes their `idle` answers."""

    def __init__(
        self,
        exchange: PaperExchange,
        streams: Streams,
        clockwork: Clockwork,
        faulty: FaultyStreams,
    ) -> None:
        self._exchange = exchange
        self._faulty = faulty
        self._streams = streams
        self._clockwork = clockwork
        self._sockets = faulty.sockets.paper
        self._changed = asyncio.Event()
        self._last_user = 0
        self._swallowed = False

    async def tell(self, advance: Advance, *, ended: bool) -> None:
        """Send a step's events to all sockets, then the step itself."""
        del ended
        self._last_user = await self._streams.push(advance)
        parcels = self._faulty.post(self.point(again=False))
        self._swallowed = not parcels
        for socket in list(self._sockets):
            await socket.send(parcels)

    async def tell_again(self) -> None:
        """Tell the current step once more if a fault swallowed it: the market waits for it."""
        if not self._swallowed:
            return
        parcels = self._faulty.post(self.point(again=True))
        self._swallowed = not parcels
        for socket in list(self._sockets):
            await socket.send(parcels)

    async def present(self) -> None:
        """Return when a client of the clock and a user stream are connected."""
        while not (self._sockets and self._streams.user):
            self._changed.clear()
            await self._changed.wait()

    async def join(self, socket: Socket) -> None:
        """Add a client of the clock and tell it where the market stands."""
        self._sockets.add(socket)
        self._changed.set()
        await socket.send(self._faulty.post(self.point(again=True)))

    def leave(self, socket: Socket) -> None:
        """Remove a client of the clock."""
        self._sockets.discard(socket)

    def user_joined(self) -> None:
        """Notice a new user stream."""
        self._changed.set()

    def answer(self, message: Any) -> None:
        """Take a client's message; `{"idle": n}` is the only one."""
        if isinstance(message, dict) and isinstance(message.get("idle"), int):
            self._clockwork.idle(message["idle"])

    def point(self, *, again: bool) -> dict[str, Any]:
        """Return the message of the current step.

        When it is told again, user events count only if a user stream that is still open was
        sent them: a new one will never see them and must ask by REST.
        """
        step, number = self._exchange.last_step, self._exchange.number
        user = self._last_user
        if again and not any(socket.last_step == number for socket in self._streams.user):
            user = 0
        message: dict[str, Any] = {
            "e": "paperPoint",
            "n": number,
            "T": self._exchange.time,
            "user": user,
            "klines": [candle.symbol for candle in step.closed] if step else [],
            "prices": self._streams.prices(step.points if step else ()),
            "pace": self._clockwork.pace,
            "ended": self._exchange.ended,
        }
        if again:
            message["again"] = True
        return message

    def clock(self) -> dict[str, Any]:
        """Return where the market stands and how it moves."""
        market = self._exchange.market
        return {
            "n": self._exchange.number,
            "T": self._exchange.time,
            "pace": self._clockwork.pace,
            "speed": self._clockwork.speed,
            "market": market.name,
            "timeframe": market.timeframe,
            "symbols": sorted(market.symbols),
            "trading": sorted(self._exchange.engine.state.marks),
            "start": market.start,
            "history_from": min(market.history_from(symbol) for symbol in market.symbols),
            "ended": self._exchange.ended,
        }
