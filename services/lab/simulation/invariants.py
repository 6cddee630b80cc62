"""What must hold whenever it is looked at, each as one function with its sentence.

Every function returns nothing, or the sentence of what is wrong. They look at the venue, the rows
and the ledger alone, never at what exec_risk believes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from services.exec_risk.core import effects as fx
from services.exec_risk.core import lifecycle
from services.exec_risk.core.fills import REST
from services.exec_risk.core.policy import Policy
from services.lab.simulation.ledger import Ledger
from services.lab.simulation.market import VENUE
from services.lab.simulation.script import Script
from services.lab.simulation.store import Rows
from services.lab.simulation.venue import BALANCE, Venue
from services.trade.order import Fill, Order, OrderPurpose, OrderState
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
    "committed_before_sent": "Nothing is sent before its intent is committed.",
    "given_up_never_arrives": "An order that was given up as never sent does not arrive.",
    "legal_step": "Every step of an order's life is legal and follows from the stored state.",
    "entry_allowed": "No entry is decided while halted, draining, stale, unknown or occupied.",
    "within_limits": "Limits on positions, notional, exposure and leverage hold at each decision.",
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
    if not held or venue.stopped(order.symbol) < held:
        return None
    left = venue.stopped(order.symbol, without=order.client_order_id)
    if left >= held:
        return None
    return f"{order.client_order_id} is cancelled, and {left} of {held} stays covered"


@dataclass(slots=True)
class Overlay:
    """The rows as they are after the first changes of a commit."""

    orders: dict[str, Order]
    positions: dict[str, Position]

    def take(self, change: fx.Change) -> None:
        """Go one change on."""
        match change:
            case fx.OrderChanged(order=order):
                self.orders[order.client_order_id] = order
            case fx.PositionOpened() | fx.PositionChanged():
                self.positions[change.position.symbol] = change.position
            case fx.PositionClosed():
                self.positions.pop(change.position.symbol, None)
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
    # a decision is made once; what of it is sent later, in parts or again, follows from it
    execution = rows.executions.get(order.execution_id)
    begun = execution.started_time if execution is not None else _begun(order, overlay)
    if signal is not None and (signal.venue != VENUE or signal.expires_at < begun):
        return f"{name} follows a signal of {signal.venue} that expired at {signal.expires_at}"
    if rows.trading_state is not TradingState.ACTIVE:
        return f"{name} is decided while {rows.trading_state}"
    if rows.latch is not None:
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


def _begun(order: Order, overlay: Overlay) -> int:
    times = [o.decided_time for o in overlay.orders.values() if o.signal_id == order.signal_id]
    return min([order.decided_time, *times])


def within_limits(
    policy: Policy,
    rows: Rows,
    overlay: Overlay,
    order: Order,
    marks: Mapping[str, Decimal],
    *,
    decided_before: bool = False,
) -> str | None:
    """Limits on positions, notional, exposure and leverage hold at each decision.

    A decision counts with all that it will send. What of it is sent later was judged with it: a
    person may have opened a position meanwhile. `decided_before`: so it is with its first order.
    """
    plan = rows.plans.get(order.position_id)
    price = plan.price if plan is not None else marks[order.symbol]
    execution = rows.executions.get(order.execution_id)
    notional = (execution.quantity if execution is not None else order.quantity) * price
    if notional > policy.max_position_usd:
        return f"{order.client_order_id} of {notional} is above {policy.max_position_usd}"
    if order.quantity <= 0:
        return f"{order.client_order_id} has quantity {order.quantity}"
    if plan is not None and plan.leverage > policy.max_leverage:
        return f"leverage {plan.leverage} is above {policy.max_leverage}"
    if decided_before or _goes_on(overlay, order):
        return None
    entries = [
        o
        for o in overlay.orders.values()
        if o.purpose is OrderPurpose.ENTRY
        and not o.state.final
        and o.client_order_id != order.client_order_id
    ]
    entries = [o for o in entries if o.position_id != order.position_id]
    used = {o.symbol for o in entries} | set(overlay.positions) | {order.symbol}
    if len(used) > policy.max_positions:
        return f"{sorted(used)} are more than {policy.max_positions} positions"
    total = notional + sum((o.remaining * marks[o.symbol] for o in entries), Decimal(0))
    total += sum((p.quantity * marks[p.symbol] for p in overlay.positions.values()), Decimal(0))
    # prices move while the decision is on its way to the store
    if total > policy.max_exposure_usd * Decimal("1.05"):
        return f"exposure would be {total}, limit {policy.max_exposure_usd}"
    return None


def _goes_on(overlay: Overlay, order: Order) -> bool:
    """Tell whether an entry goes on with a decision that sent one before."""
    return any(
        o.position_id == order.position_id
        and o.purpose is OrderPurpose.ENTRY
        and o.client_order_id != order.client_order_id
        for o in overlay.orders.values()
    )


def no_invented_fill(venue: Venue, change: fx.FillRecorded) -> str | None:
    """No fill is booked that the exchange does not have."""
    fill, known = change.fill, change.fill.trade_id.removesuffix(REST)
    if any(f.trade_id == known and f.symbol == fill.symbol for f in reversed(venue.fills)):
        return None
    return f"{fill.trade_id}: {fill.quantity} {fill.symbol} at {fill.price}"


def wallet_explained(venue: Venue, change: fx.ReconcileRepaired) -> str | None:
    """The wallet follows from fills and funding; only a bankruptcy explains another change."""
    return change.detail if change.kind == "wallet" and not venue.insurance else None


def fills_equal(venue: Venue, rows: Rows) -> str | None:
    """Fills, and so positions, are equal at the venue and in the rows."""
    theirs, ours = {(f.symbol, f.trade_id): f for f in venue.fills}, whole(rows.fills.values())
    if set(theirs) != set(ours):
        return f"only there {_few(theirs, ours)}, only here {_few(ours, theirs)}"
    for key, fill in theirs.items():
        mine = ours[key]
        if (mine.price, mine.quantity, mine.commission, mine.side) != (
            fill.price,
            fill.quantity,
            fill.commission,
            fill.side,
        ):
            return f"{mine} here, {fill} there"
    return positions_equal(venue, rows)


def positions_equal(venue: Venue, rows: Rows) -> str | None:
    """What is held is equal at the venue and in the rows."""
    held = {s: p.quantity * p.side.sign for s, p in rows.open_positions().items()}
    return _held_differ(venue, held)


def whole(fills: Iterable[Fill]) -> dict[tuple[str, str], Fill]:
    """Return fills by symbol and trade id, with the parts of a split one put together again."""
    found: dict[tuple[str, str], Fill] = {}
    for fill in fills:
        key = (fill.symbol, fill.trade_id.removesuffix(REST))
        known = found.get(key)
        if known is not None:
            fill = replace(
                fill,
                quantity=fill.quantity + known.quantity,
                commission=fill.commission + known.commission,
            )
        found[key] = fill
    return found


def _held_differ(venue: Venue, held: Mapping[str, Decimal]) -> str | None:
    for symbol in venue.market.symbols:
        there, here = venue.held(symbol), held.get(symbol, Decimal(0))
        if there != here:
            return f"{symbol}: {here} here, {there} there"
    return None


def _few(one: Mapping[tuple[str, str], object], other: Mapping[tuple[str, str], object]) -> str:
    return ", ".join(".".join(key) for key in list(one) if key not in other)[:200]


def wallet_conserved(venue: Venue) -> str | None:
    """Start + realised - commission + funding is the wallet, to the digit."""
    realized = sum((f.realized_pnl for f in venue.fills), Decimal(0))
    paid = sum((f.commission for f in venue.fills), Decimal(0))
    funding = sum((f.amount for f in venue.funding), Decimal(0))
    made = BALANCE + realized - paid + funding + venue.insurance
    return None if made == venue.wallet else f"{made} by its parts, {venue.wallet} in the wallet"


def wallet_equal(venue: Venue, rows: Rows) -> str | None:
    """The stored wallet is the venue's."""
    stored = rows.account.wallet_balance if rows.account else None
    return None if stored == venue.wallet else f"{stored} stored, {venue.wallet} at the venue"


def ledger_equal(venue: Venue, ledger: Ledger) -> str | None:
    """The ledger's fills, profits, commission and funding are the venue's, to the digit."""
    theirs = {(f.symbol, f.trade_id): f for f in venue.fills}
    ours = whole(f.fill for f in ledger.fills.values())
    if set(theirs) != set(ours):
        return f"fills only there {_few(theirs, ours)}, only in the ledger {_few(ours, theirs)}"
    paid = sum((f.commission for f in ours.values()), Decimal(0))
    if paid != sum((f.commission for f in venue.fills), Decimal(0)):
        return f"commission {paid} in the ledger"
    funding = {f.transaction_id: f.amount for f in venue.funding}
    if funding != {k: f.amount for k, f in ledger.funding.items()}:
        return f"funding {funding} there, {ledger.funding} in the ledger"
    net, held, wrong = ledger.net()
    if wrong:
        return "; ".join(wrong)
    problem = _held_differ(venue, held)
    if problem is not None:
        return problem
    if not any(held.values()):
        made = BALANCE + net + unowned(ledger) + venue.insurance
        if made != venue.wallet:
            return f"profits make {made}, the wallet is {venue.wallet}"
    return None


def unowned(ledger: Ledger) -> Decimal:
    """Return funding that belongs to no position: it was settled after the close."""
    lost = (f.amount for f in ledger.funding.values() if not f.position_id)
    return sum(lost, Decimal(0))


def latched_flat(venue: Venue, rows: Rows) -> str | None:
    """A latched account is flat at the end, without an entry on its way."""
    if rows.latch is None:
        return None
    held = {s: venue.held(s) for s in venue.market.symbols if venue.held(s)}
    return f"latched, and still holds {held}" if held else None


def settled(venue: Venue, rows: Rows) -> str | None:
    """Every order reaches a final state, but the protection of open positions."""
    held = {p.position_id for p in rows.open_positions().values()}
    for order in rows.orders.values():
        if order.state.final:
            continue
        protects = order.purpose in (OrderPurpose.STOP_LOSS, OrderPurpose.TAKE_PROFIT)
        if not protects or order.position_id not in held:
            return f"{order.client_order_id} ({order.purpose}) is still {order.state}"
    live = {o.client_order_id for o in rows.orders.values() if not o.state.final}
    resting = {r.client_order_id for r in venue.open_orders()}
    if live != resting:
        return f"live here {sorted(live - resting)}, at the venue {sorted(resting - live)}"
    return None


def answered(rows: Rows, asked: Mapping[str, float]) -> str | None:
    """Every operator's request that a leader was there to read is answered."""
    lost = [r for r in asked if r not in rows.answers]
    return f"{lost} were never answered" if lost else None
