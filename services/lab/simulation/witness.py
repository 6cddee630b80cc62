"""Who sees every commit: what it decides is checked, and its facts go to the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from services.exec_risk.core import effects as fx
from services.lab.simulation import entry_limits
from services.lab.simulation import invariants as must
from services.lab.simulation.bus import SimulatedBus
from services.lab.simulation.faults import Fault
from services.lab.simulation.ground import Ground
from services.lab.simulation.ledger import Ledger, facts_of
from services.lab.simulation.replicas import Replicas
from services.lab.simulation.rows import Rows
from services.trade.order import Order, OrderPurpose

_DRAIN_SECONDS = 0.5
"""A decision may be on its way to the store for so long when a drain begins; while the store is
away it waits until that is over."""


class CommitWitness:
    """Satisfies `services.lab.simulation.store.Witness`."""

    def __init__(
        self, ground: Ground, replicas: Replicas, bus: SimulatedBus, ledger: Ledger
    ) -> None:
        self._ground, self._replicas = ground, replicas
        self._bus, self._ledger = bus, ledger
        self._told: set[str] = set()

    def committing(self, replica: str, changes: Sequence[fx.Change]) -> None:
        """Check a commit against the rows before it."""
        ground, rows = self._ground, self._ground.rows
        overlay = must.Overlay.of(rows)
        copied = False
        for change in changes:
            if isinstance(change, fx.OrderChanged):
                if not copied:
                    overlay.orders, copied = dict(overlay.orders), True
                ground.must("legal_step", must.legal_step(overlay, change))
                order = change.order
                ground.tell(
                    replica,
                    f"{order.client_order_id} {order.purpose} {order.symbol}"
                    f" {change.previous} -> {order.state} ({change.cause}) {order.reason}",
                )
                if change.previous is None and order.purpose is OrderPurpose.ENTRY:
                    self._check_entry(replica, overlay, order, changes)
            elif isinstance(change, fx.FillRecorded):
                ground.must("no_invented_fill", must.no_invented_fill(ground.venue, change))
            elif isinstance(change, fx.ReconcileRepaired):
                ground.must("wallet_explained", must.wallet_explained(ground.venue, change))
            overlay.take(change)

    def _check_entry(
        self, replica: str, overlay: must.Overlay, order: Order, changes: Sequence[fx.Change]
    ) -> None:
        ground, rows = self._ground, self._ground.rows
        if order.client_order_id in rows.orders:
            return  # the same commit once more
        ground.counts["entries"] += 1
        known = self._with(changes)
        problem = must.entry_allowed(known, overlay, ground.script, order, ground.market.symbols)
        ground.must("entry_allowed", problem)
        one = self._replicas[replica]
        # what it decided before it was frozen is written down when it goes on
        begun = max(one.gates_since, rows.away_until, one.awake_since)
        drained = ground.loop.time() - begun > _DRAIN_SECONDS
        # one that was decided, and withdrawn, while the store was away is only written down now
        new = order.client_order_id not in one.decided_without_store
        if one.gates.draining and drained and new and not one.frozen:
            ground.broken("entry_allowed", f"{order.client_order_id} is decided while draining")
        decision = entry_limits.Decision(
            order,
            known,
            overlay,
            ground.venue.marks_at(order.decided_time),
            decided_before=order.execution_id in rows.executions,
        )
        ground.must("within_limits", entry_limits.within_limits(ground.policy, decision))
        ground.must("within_shares", entry_limits.within_shares(ground.policy, decision))
        ground.must("within_pace", entry_limits.within_pace(ground.policy, decision))

    def _with(self, changes: Sequence[fx.Change]) -> Rows:
        """Return the rows with what this commit adds of plans and executions, and the account."""
        rows = self._ground.rows
        executions, plans, account = dict(rows.executions), dict(rows.plans), rows.account
        for change in changes:
            match change:
                case fx.ExecutionChanged(execution=execution):
                    executions[execution.execution_id] = execution
                case fx.StorePlan(plan=plan):
                    plans.setdefault(plan.position_id, plan)
                case fx.AccountSnapshot():
                    account = account or change
        return replace(rows, executions=executions, plans=plans, account=account)

    def committed(self, replica: str, changes: Sequence[fx.Change]) -> None:
        """Send the facts of a commit to the ledger."""
        del replica
        faults, network = self._ground.faults, self._ground.network
        for name, fact in facts_of(changes, self._ground.policy.account, len(self._told)):
            if name in self._told:
                continue
            self._told.add(name)
            times, delay = 1, 0.01
            if faults.strikes(Fault.LEDGER_DISORDER, 0.2):
                dice = faults.stream(Fault.LEDGER_DISORDER)
                times, delay = dice.choice((1, 2)), dice.uniform(0.01, 5.0)
            for number in range(times):
                network.later(delay * (number + 1), partial(self._ledger.take, fact))
        for change in changes:
            if isinstance(change, fx.RoundDecided):
                network.later(0.02, partial(self._bus.observed, change.time))
