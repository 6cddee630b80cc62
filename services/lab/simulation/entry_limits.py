"""Limits of the account at each decision to enter, worked out anew from the rows alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core.policy import Policy
from services.lab.simulation.invariants import Overlay
from services.lab.simulation.rows import Rows
from services.trade.clusters import cluster_of
from services.trade.order import Order, OrderPurpose, Side
from services.trade.times import MINUTE_MS, utc_day

_MOVED = Decimal("1.05")
"""exec_risk may know the last close where we look at the mark of the same moment."""


@dataclass(frozen=True, slots=True)
class Decision:
    """An entry order that is stored for the first time.

    A decision counts with all that it will send. What of it is sent later was judged with it: a
    person may have opened a position meanwhile.
    """

    order: Order
    rows: Rows
    """Rows with the plans and executions of the commit that stores the order."""
    overlay: Overlay
    """Orders and positions as they are just before it."""
    marks: Mapping[str, Decimal]
    """Where prices stood when it was decided."""
    decided_before: bool = False
    """True when its execution was stored before."""

    @property
    def first(self) -> bool:
        """True for the first order of a decision."""
        return not self.decided_before and not any(
            o.position_id == self.order.position_id
            and o.purpose is OrderPurpose.ENTRY
            and o.client_order_id != self.order.client_order_id
            for o in self.overlay.orders.values()
        )

    @property
    def notional(self) -> Decimal:
        """All that it will send, in USD."""
        plan = self.rows.plans.get(self.order.position_id)
        price = plan.price if plan is not None else self.marks[self.order.symbol]
        execution = self.rows.executions.get(self.order.execution_id)
        return (execution.quantity if execution is not None else self.order.quantity) * price

    def pending(self) -> Iterator[Order]:
        """Return entries of other decisions that may still fill."""
        for other in self.overlay.orders.values():
            mine = other.position_id == self.order.position_id
            if other.purpose is OrderPurpose.ENTRY and not other.state.final and not mine:
                yield other

    def exposures(self) -> Iterator[tuple[str, Side, Decimal]]:
        """Return symbol, direction and notional in USD of what is held and on its way."""
        for position in self.overlay.positions.values():
            notional = position.quantity * self.marks[position.symbol]
            yield position.symbol, position.side.entry_side, notional
        for other in self.pending():
            yield other.symbol, other.side, other.remaining * self.marks[other.symbol]


def within_limits(policy: Policy, decision: Decision) -> str | None:
    """Limits on positions, notional, exposure and leverage hold at each decision."""
    order, notional = decision.order, decision.notional
    plan = decision.rows.plans.get(order.position_id)
    if notional > policy.max_position_usd:
        return f"{order.client_order_id} of {notional} is above {policy.max_position_usd}"
    if order.quantity <= 0:
        return f"{order.client_order_id} has quantity {order.quantity}"
    if plan is not None and plan.leverage > policy.max_leverage:
        return f"leverage {plan.leverage} is above {policy.max_leverage}"
    if not decision.first:
        return None
    used = {order.symbol, *(symbol for symbol, _, _ in decision.exposures())}
    if len(used) > policy.max_positions:
        return f"{sorted(used)} are more than {policy.max_positions} positions"
    total = sum((n for _, _, n in decision.exposures()), notional)
    if total > policy.max_exposure_usd * _MOVED:
        return f"exposure would be {total}, limit {policy.max_exposure_usd}"
    return None


def within_shares(policy: Policy, decision: Decision) -> str | None:
    """Net exposure and the shares of a symbol and of a cluster hold at each decision."""
    if not decision.first:
        return None
    order, risk = decision.order, policy.risk
    home = cluster_of(order.symbol, risk.clusters)
    net = of_symbol = of_cluster = decision.notional
    positions = decision.overlay.positions.values()
    held = sum((p.quantity * p.side.sign * decision.marks[p.symbol] for p in positions), Decimal(0))
    net += held * order.side.sign
    toward = (o for o in decision.pending() if o.side is order.side)
    net += sum((o.remaining * decision.marks[o.symbol] for o in toward), Decimal(0))
    for symbol, side, notional in decision.exposures():
        of_symbol += notional if symbol == order.symbol else 0
        if side is order.side and cluster_of(symbol, risk.clusters) == home:
            of_cluster += notional
    for name, found, share in (
        ("net exposure", net, risk.max_net_share),
        (f"share of {order.symbol}", of_symbol, risk.max_symbol_share),
        (f"share of {home}", of_cluster, risk.max_cluster_share),
    ):
        most = policy.max_exposure_usd * share
        if found > most * _MOVED:
            return f"{order.client_order_id}: {name} would be {found}, limit {most}"
    return None


def within_pace(policy: Policy, decision: Decision) -> str | None:
    """No more entries are decided in a minute, and positions opened in a UTC day, than may be."""
    if not decision.first:
        return None
    order, rows, overlay = decision.order, decision.rows, decision.overlay
    now, risk = order.decided_time, policy.risk
    entered = {
        o.position_id
        for o in overlay.orders.values()
        if o.purpose is OrderPurpose.ENTRY and o.position_id != order.position_id
    }
    times = [rows.plans[p].decided_time for p in entered if p in rows.plans]
    lately = sum(now - MINUTE_MS < time <= now for time in times)
    if lately >= risk.max_orders_per_minute:
        return f"{order.client_order_id} follows {lately} entries of the last minute"
    positions = {**rows.positions, **{p.position_id: p for p in overlay.positions.values()}}
    today = {
        p.position_id
        for p in positions.values()
        if p.position_id in rows.plans and utc_day(p.opened_time) == utc_day(now)
    }
    opening = {o.position_id for o in decision.pending()} - positions.keys()
    if len(today | opening) >= risk.max_trades_per_day:
        return f"{order.client_order_id} follows {len(today | opening)} trades of the day"
    return None
