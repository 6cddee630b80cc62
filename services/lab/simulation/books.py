"""The three books, venue, rows and ledger, and whether they agree; each as one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from services.exec_risk.core.account.fills import REST
from services.lab.simulation.ledger import Ledger
from services.lab.simulation.rows import Rows
from services.lab.simulation.venue import BALANCE, Venue
from services.trade.order import Fill, OrderPurpose


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
