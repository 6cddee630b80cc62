"""What the exchange tells the replicas, late, twice, out of order or not at all."""

from __future__ import annotations

from collections.abc import Sequence

from services.exec_risk.core import exchange_events as ex
from services.lab.simulation.faults import Fault
from services.lab.simulation.ground import Ground
from services.lab.simulation.plan import Pace
from services.lab.simulation.replica import Replica
from services.lab.simulation.replicas import Replicas
from services.lab.simulation.reports import user_events
from services.trade.candle import Candle
from services.venue.core.events import VenueEvent


class Streams:
    """The sockets of all replicas, and the point at which the market stands."""

    def __init__(self, ground: Ground, replicas: Replicas) -> None:
        self._ground, self._replicas = ground, replicas
        self._still_due = False
        self.point: ex.PointReached | None = None
        """The last point of the paper venue; an exchange has none."""
        self.closed: list[Candle] = []
        """Candles that closed at it."""

    def current(self) -> list[ex.ExchangeEvent]:
        """Return what a new client of the paper venue hears first."""
        up: list[ex.ExchangeEvent] = [ex.StreamStateChanged("user", True, "connected")]
        if self.point is None:
            return up
        return [*up, *(ex.CandleClosed(c) for c in self.closed), self.point]

    def publish(
        self,
        events: Sequence[VenueEvent],
        candles: Sequence[Candle],
        point: ex.PointReached | None,
    ) -> None:
        """Send a step's events to every replica's sockets."""
        account = self._ground.policy.account
        told = [e for event in events for e in user_events(event, account)]
        for event in told:
            if isinstance(event, ex.FillReport):
                fill = event.fill
                self._ground.tell(
                    "venue",
                    f"fill {fill.client_order_id} {fill.side} {fill.quantity} {fill.symbol}"
                    f" at {fill.price}",
                )
        for replica in self._replicas.alive():
            self._stream(replica, told, candles, point)

    def _stream(
        self,
        replica: Replica,
        told: Sequence[ex.ExchangeEvent],
        candles: Sequence[Candle],
        point: ex.PointReached | None,
    ) -> None:
        faults, network = self._ground.faults, self._ground.network
        now, hand = network.loop.time(), replica.exchange.hand
        at = max(now + network.hop(0.01), replica.stream_at)
        if faults.strikes(Fault.STREAM_DELAYED, 0.05):
            at += faults.stream(Fault.STREAM_DELAYED).uniform(0.1, 3.0)
        user = list(told) if replica.exchange.up else []
        if user and faults.strikes(Fault.STREAM_REORDERED, 0.1):
            faults.stream(Fault.STREAM_REORDERED).shuffle(user)
        batch: list[ex.ExchangeEvent] = [*user, *(ex.CandleClosed(c) for c in candles)]
        if point is not None:
            batch.append(point)
        if user and faults.strikes(Fault.STREAM_DUPLICATED, 0.1):
            again = faults.stream(Fault.STREAM_DUPLICATED).uniform(0.0, 2.0)
            network.later(at + again - now, lambda: [hand(e) for e in user])
        replica.stream_at = at
        if batch:
            network.later(at - now, lambda: [hand(e) for e in batch])

    def acted(self, milliseconds: int) -> None:
        """On an exchange that never pauses orders take effect at once."""
        if self._ground.plan.pace is not Pace.EXCHANGE or self._still_due:
            return
        self._still_due = True

        def take_effect() -> None:
            self._still_due = False
            self.publish(self._ground.venue.still(1), (), None)

        self._ground.network.later(milliseconds / 1000, take_effect)
