"""An account traded by the real executor on the venue's real core, and all that it published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.exec_risk.core import effects as fx
from services.exec_risk.messages.facts import encode
from services.kit.bus.message import Outgoing
from services.kit.observe.logs import silence
from services.lab.simulation.market import START, VENUE
from services.lab.simulation.plan import Outcome, RunPlan
from services.lab.simulation.processes import Processes
from services.lab.simulation.store import Witness
from services.lab.simulation.venue import Venue
from services.lab.simulation.world import World

__all__ = ["START", "Published", "TradedAccount", "trade"]


@dataclass(slots=True)
class Published:
    """Satisfies `Witness`: keeps what every commit puts into the outbox, as the outbox does."""

    witness: Witness
    account: str
    sent: dict[str, Outgoing] = field(default_factory=dict)
    """By message id, in the order of the commits."""

    def committing(self, replica: str, changes: Sequence[fx.Change]) -> None:
        """Pass it on."""
        self.witness.committing(replica, changes)

    def committed(self, replica: str, changes: Sequence[fx.Change]) -> None:
        """Pass it on, and write its facts as messages."""
        self.witness.committed(replica, changes)
        for change in changes:
            if isinstance(change, fx.AccountSnapshot):
                if change.published:
                    self._publish(change)
            elif isinstance(change, fx.FACTS):
                self._publish(change)

    def _publish(self, fact: fx.Fact | fx.AccountSnapshot) -> None:
        message = encode(fact, self.account, VENUE)
        self.sent.setdefault(message.message_id, message)


@dataclass(frozen=True, slots=True)
class TradedAccount:
    """What came of it."""

    outcome: Outcome
    venue: Venue
    sent: tuple[Outgoing, ...]


def trade(plan: RunPlan) -> TradedAccount:
    """Trade by a plan, on virtual time; blocks until it is over."""
    silence()
    kept: list[Published] = []

    def listening(ground: Any, replicas: Any, *, witness: Witness, **parts: Any) -> Processes:
        kept.append(Published(witness, ground.policy.account))
        return Processes(ground, replicas, witness=kept[0], **parts)

    world = World(plan, processes=listening)
    outcome = world.run()
    return TradedAccount(outcome, world.venue, tuple(kept[0].sent.values()))
