"""What a fault holds up just now: that time is not the system's own."""

from __future__ import annotations

from services.lab.simulation.replicas import Replicas
from services.lab.simulation.virtual_loop import VirtualLoop


class Troubles:
    """Until when a symbol, or everything, is held up."""

    def __init__(self, loop: VirtualLoop, replicas: Replicas, symbols: tuple[str, ...]) -> None:
        self._loop, self._replicas, self._symbols = loop, replicas, symbols
        self._until: dict[str, float] = {}
        self._exits: dict[str, int] = {}
        """Exits whose sender waits for the answer, by symbol."""

    def note(self, seconds: float, symbol: str = "") -> None:
        """Note that a fault holds something up: one symbol, or everything."""
        until = self._loop.time() + seconds
        self._until[symbol] = max(self._until.get(symbol, 0.0), until)

    def exit_sent(self, symbol: str, change: int) -> None:
        """Note that an exit was sent (1), or that its sender has the answer (-1)."""
        self._exits[symbol] = self._exits.get(symbol, 0) + change

    def hold(self, symbol: str) -> bool:
        """Tell whether a fault holds up what concerns a symbol."""
        now = self._loop.time()
        if now < self._until.get(symbol, 0.0) or now < self._until.get("", 0.0):
            return True
        leader = self._replicas.leader()
        if leader is None:
            return False
        if self._exits.get(symbol, 0) > 0:
            return True  # the exit was sent, and only its fate is not known
        return leader.stream_at > now or not leader.exchange.up

    def none(self) -> bool:
        """True when nothing at all is held up."""
        return self._replicas.ready() and not any(map(self.hold, self._symbols))
