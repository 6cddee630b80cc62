"""What must hold whenever it is looked at, each as one function with its sentence.

Every function returns nothing, or the sentence of what is wrong. They look at the venue, the rows
and the ledger alone, never at what exec_risk believes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core import effects as fx
from services.exec_risk.core.account.fills import REST
from services.exec_risk.core.orders import lifecycle
from services.lab.simulation.market import VENUE
from services.lab.simulation.rows import Rows
from services.lab.simulation.script import Script
from services.lab.simulation.venue import Venue
from services.trade.order import Order, OrderPurpose, OrderState
from services.trade.position import Position, TradingState


class Broken(Exception):
    """An invariant does not hold."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.detail = detail


INVARIANTS = {
    "one_entry_a_decision": "No two live entry orders for one decision.",
    "accepted_once": "A client order id is accepted once.",
    "id_names_one": "A client order id names one decision, also one that a crash forgot.",
    "committed_before_sent": "Nothing is sent before its intent is committed.",
    "given_up_never_arrives": "An order that was given up as never sent does not arrive.",
    "legal_step": "Every step of an order's life is legal and follows from the stored state.",
    "entry_allowed": "No entry is decided while halted, draining, stale, unknown or occupied.",
    "within_limits": "Limits on positions, notional, exposure and leverage hold at each decision.",
    "within_shares": "Net exposure and a symbol's and a cluster's share hold at each decision.",
    "within_pace": "Entries a minute and trades a day hold at each decision.",
    "stop_stays": "A stop is cancelled only when another one covers what is held.",
    "protected": "No position is unprotected beyond its grace: 2 s, 4.5 s, 8 s.",
    "no_invented_fill": "No fill is booked that the exchange does not have.",
    "wallet_explained": "The wallet follows from fills and funding; it is never put right.",
    "fills_equal": "Fills, and so positions, are equal at the venue, in the rows, in the ledger.",
    "wallet_conserved": "Start + realised - commission + funding is the wallet, to the digit.",
    "wallet_equal": "The stored wallet is the venue's.",
    "ledger_equal": "The ledger's profits, commission and funding are the venue's, to the digit.",
    "latched_flat": "A latched account is flat at the end, without an entry on its way.",
    "settled": "Every order reaches a final state, but the protection of open positions.",
    "answered": "Every operator's request that was read is answered.",
    "point_answered": "The venue's point is answered with idle.",
    "core_sound": "The core never fails.",
    "runs": "The run itself ends without an error.",
    "leader_lives": "A leader ends by a lost lease, never by a defect.",
}
"""Name and sentence of everything that is checked."""


def one_entry_a_decision(
    venue: Venue, placed: Mapping[str, Order], rows: Rows, order: Order
) -> str | None:
    """No two live entry orders for one decision, and in all no more than was decided."""
    if order.purpose is not OrderPurpose.ENTRY:
        return None
    execution = rows.executions.get(order.execution_id)
    limit = execution.quantity if execution is not None else order.quantity
    live, total = [], Decimal(0)
    for one in placed.values():
        known = venue.orders.get(one.client_order_id)
        mine = one.purpose is OrderPurpose.ENTRY and one.position_id == order.position_id
        if not mine or known is None:
            continue
        if known.status.open:
            live.append(one.client_order_id)
        total += known.quantity if known.status.open else known.executed
    if len(live) > 1:
        return f"{live} all work for {order.position_id}"
    if total > limit:
        return f"{total} are ordered for {order.position_id}, decided was {limit}"
    return None


def accepted_once(accepted: Counter[str], order: Order) -> str | None:
    """A client order id is accepted once, also after it has ended."""
    times = accepted[order.client_order_id]
    return f"{order.client_order_id} was accepted {times} times" if times > 1 else None


def id_names_one(venue: Venue, before: Order | None, order: Order) -> str | None:
    """A client order id names one decision, also one that was sent without a store and forgotten.

    `before` is what was sent under this id last. While it lives the exchange refuses its id, which
    tells of it; once it has ended, nothing does.
    """
    name = order.client_order_id
    if before is None or before.decided_time == order.decided_time:
        return None
    there = venue.find(before)
    if there is None or not there.state.final:
        return None
    return f"{name} was decided at {before.decided_time} and again at {order.decided_time}"


def committed_before_sent(rows: Rows, order: Order, *, without_store: bool) -> str | None:
    """Nothing is sent before its intent is committed; without a store only what reduces is."""
    if without_store and order.reduce_only:
        return None
    row = rows.orders.get(order.client_order_id)
    if row is None:
        return f"{order.client_order_id} is sent, but not stored"
    if row.state is OrderState.INTENT:
        return f"{order.client_order_id} is sent, but stored as an intent only"
    return None


def given_up_never_arrives(rows: Rows, order: Order) -> str | None:
    """An order whose row is final cannot be accepted any more."""
    row = rows.orders.get(order.client_order_id)
    if row is not None and row.state.final:
        return f"{order.client_order_id} is accepted, but was {row.state} already: {row.reason}"
    return None


def stop_stays(venue: Venue, rows: Rows, order: Order) -> str | None:
    """A stop is cancelled only when another one covers what is held, or it is being left."""
    position = rows.open_positions().get(order.symbol)
    if order.purpose is not OrderPurpose.STOP_LOSS or position is None:
        return None
    if position.position_id != order.position_id or position.exit_reason is not None:
        return None
    held = abs(venue.held(order.symbol))
    if not held or venue.stopped(order.symbol) < held or _is_left(venue, rows, position):
        return None
    left = venue.stopped(order.symbol, without=order.client_order_id)
    if left >= held:
        return None
    return f"{order.client_order_id} is cancelled, and {left} of {held} stays covered"


def _is_left(venue: Venue, rows: Rows, position: Position) -> bool:
    """Tell whether our exits have closed a position, though its rows were not written yet.

    What is held then is another's, until a reading tells of it.
    """
    exits = [
        fill.quantity
        for fill in venue.fills
        if fill.side is position.side.exit_side
        and (order := rows.orders.get(fill.client_order_id)) is not None
        and order.position_id == position.position_id
    ]
    return sum(exits) >= position.entry_quantity > 0


@dataclass(slots=True)
class Overlay:
    """The rows as they are after the first changes of a commit."""

    orders: dict[str, Order]
    positions: dict[str, Position]
    trading_state: TradingState = TradingState.ACTIVE
    latched: bool = False

    @classmethod
    def of(cls, rows: Rows) -> Overlay:
        """Return the rows as they are before a commit; its orders are to be copied for a change."""
        latched = rows.latch is not None
        return cls(rows.orders, rows.open_positions(), rows.trading_state, latched)

    def take(self, change: fx.Change) -> None:
        """Go one change on."""
        match change:
            case fx.OrderChanged(order=order):
                self.orders[order.client_order_id] = order
            case fx.PositionOpened() | fx.PositionChanged():
                self.positions[change.position.symbol] = change.position
            case fx.PositionClosed():
                self.positions.pop(change.position.symbol, None)
            case fx.TradingStateChanged():
                self.trading_state = change.state
            case fx.EmergencyStopped() | fx.EmergencyReset():
                self.latched = isinstance(change, fx.EmergencyStopped)
            case _:
                return


def legal_step(overlay: Overlay, change: fx.OrderChanged) -> str | None:
    """Every step of an order's life is legal and follows from the stored state."""
    order = change.order
    row = overlay.orders.get(order.client_order_id)
    if row is not None and row.version >= order.version:
        return None  # the same commit once more
    before = row.state if row is not None else None
    if change.previous is not before:
        return f"{order.client_order_id} was {before} in the rows, not {change.previous}"
    if before is None or before is order.state:
        return None
    if row is not None and order.filled_quantity > row.filled_quantity:
        return None  # a fill is never refused
    if not lifecycle.allowed(before, order.state):
        return f"{order.client_order_id}: {before} -> {order.state}"
    return None


def entry_allowed(
    rows: Rows, overlay: Overlay, script: Script, order: Order, symbols: Sequence[str]
) -> str | None:
    """No entry is decided while halted, stale, unknown or occupied."""
    name, symbol = order.client_order_id, order.symbol
    again = any(
        o.position_id == order.position_id and o.client_order_id != name
        for o in overlay.orders.values()
    )
    signal = script.signals.get(order.signal_id)
    if symbol not in symbols or (signal is None and not order.execution_id):
        return f"{name} has no signal of ours, or no known symbol"
    late = signal is not None and signal.expires_at < order.decided_time
    if signal is not None and (signal.venue != VENUE or late):
        return f"{name} follows a signal of {signal.venue} that expired at {signal.expires_at}"
    if overlay.trading_state is not TradingState.ACTIVE:
        return f"{name} is decided while {overlay.trading_state}"
    if overlay.latched:
        return f"{name} is decided while an emergency stop is latched"
    if rows.account is None or rows.account.wallet_balance is None:
        return f"{name} is decided without a known wallet"
    held = overlay.positions.get(symbol)
    if held is not None and (held.position_id != order.position_id or not again):
        return f"{name} is decided while a position of {symbol} is open"
    for other in overlay.orders.values():
        same = other.client_order_id == name
        if other.position_id == order.position_id and other.reduce_only:
            continue
        if other.symbol == symbol and not other.state.final and not same:
            return f"{name} is decided while {other.client_order_id} is {other.state}"
    return None


def no_invented_fill(venue: Venue, change: fx.FillRecorded) -> str | None:
    """No fill is booked that the exchange does not have."""
    fill, known = change.fill, change.fill.trade_id.removesuffix(REST)
    if any(f.trade_id == known and f.symbol == fill.symbol for f in reversed(venue.fills)):
        return None
    return f"{fill.trade_id}: {fill.quantity} {fill.symbol} at {fill.price}"


def wallet_explained(venue: Venue, change: fx.ReconcileRepaired) -> str | None:
    """The wallet follows from fills and funding; only a bankruptcy explains another change."""
    return change.detail if change.kind == "wallet" and not venue.insurance else None
