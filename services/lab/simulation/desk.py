"""The exchange's desk: every request that is sent, arrives and is answered is checked here."""

from __future__ import annotations

import asyncio

from services.exec_risk.core import exchange_events as ex
from services.lab.simulation import invariants as must
from services.lab.simulation.ground import Ground
from services.lab.simulation.replicas import Replicas
from services.lab.simulation.streams import Streams
from services.lab.simulation.troubles import Troubles
from services.trade.order import Order, OrderPurpose


class OrderDesk:
    """Satisfies `services.lab.simulation.exchange.Desk`."""

    def __init__(
        self, ground: Ground, replicas: Replicas, streams: Streams, troubles: Troubles
    ) -> None:
        self._ground, self._replicas = ground, replicas
        self._streams, self._troubles = streams, troubles
        self._placed: dict[str, dict[str, Order]] = {}
        """What was sent, by position and client order id."""
        self.idle = -1
        """The last point that was answered."""
        self.idle_heard = asyncio.Event()

    def sending(self, replica: str, order: Order) -> None:
        """An order is handed to the network."""
        ground, term = self._ground, self._replicas[replica].leader.term
        away = term is not None and term.store_away
        problem = must.committed_before_sent(ground.rows, order, without_store=away)
        ground.counts["sent without a store"] += away
        ground.must("committed_before_sent", problem)
        placed = self._placed.setdefault(order.position_id, {})
        before = placed.get(order.client_order_id)
        if self._replicas[replica].lease.token == ground.rows.token:
            # who was deposed may know an id only that another has used up meanwhile
            ground.must("id_names_one", must.id_names_one(ground.venue, before, order))
        placed[order.client_order_id] = order
        if order.purpose is OrderPurpose.EXIT:
            self._troubles.exit_sent(order.symbol, 1)
        ground.tell(replica, f"sends {order.client_order_id} {order.side} {order.quantity}")

    def arrived(self, replica: str, order: Order, refused: ex.Refused | None) -> None:
        """An order reached the exchange."""
        ground = self._ground
        if refused is not None:
            ground.counts[f"venue {refused.code}"] += 1
            ground.tell("venue", f"refuses {order.client_order_id}: {refused.code}")
            return
        ground.counts[f"accepted {order.purpose}"] += 1
        ground.tell("venue", f"accepts {order.client_order_id} of {replica}")
        ground.must("accepted_once", must.accepted_once(ground.venue.accepted, order))
        ground.must("given_up_never_arrives", must.given_up_never_arrives(ground.rows, order))
        ground.must(
            "one_entry_a_decision",
            must.one_entry_a_decision(
                ground.venue, self._placed[order.position_id], ground.rows, order
            ),
        )

    def ended(self, replica: str, order: Order, fault: str) -> None:
        """The sender has its answer."""
        if order.purpose is OrderPurpose.EXIT:
            self._troubles.exit_sent(order.symbol, -1)
        if fault:
            self._troubles.note(3.0, order.symbol)
            self._ground.tell(replica, f"hears nothing good of {order.client_order_id}: {fault}")

    def cancelling(self, order: Order) -> None:
        """A cancel reached the exchange."""
        ground = self._ground
        ground.must("stop_stays", must.stop_stays(ground.venue, ground.rows, order))

    def cancelled(self, replica: str, order: Order, outcome: ex.RequestOutcome, fault: str) -> None:
        """A cancel has its answer."""
        self._ground.counts["cancels"] += 1
        told = fault or (outcome.code if isinstance(outcome, ex.Refused) else "taken")
        self._ground.tell(replica, f"cancel of {order.client_order_id}: {told}")

    def trouble(self, seconds: float, symbol: str = "") -> None:
        """A fault holds something up."""
        self._troubles.note(seconds, symbol)

    def acted(self, milliseconds: int) -> None:
        """The exchange has something to do with the next price."""
        self._streams.acted(milliseconds)

    def answered(self, number: int) -> None:
        """A point was answered with idle."""
        self.idle = max(self.idle, number)
        self.idle_heard.set()
