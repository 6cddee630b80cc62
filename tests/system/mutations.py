"""Defects that simulation or a named test must catch: each is one edit of one file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """One defect. Without tests the simulation has to find it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()


CORE = "services/exec_risk/core/"
MUTATIONS = (
    Mutation(
        "a lost reply counts as never sent, and nobody asks by the client id",
        CORE + "trader.py",
        "            orders.lost(self.book, order, outcome.reason)\n",
        '            never = Refused("never_sent", outcome.reason, retryable=True)\n'
        '            self._refused(order, never, "lost")\n',
    ),
    Mutation(
        "a request is sent before its intent is committed",
        "services/exec_risk/term.py",
        "            signed_at = await step.settled\n",
        "            signed_at = int(self._clock.now().timestamp() * 1000)\n",
    ),
    Mutation(
        "a stop is cancelled, then placed anew",
        CORE + "stop_orders.py",
        "        _place(book, position, stop, existing)\n",
        "        for one in existing:\n"
        "            orders.cancel(book, one)\n"
        "        if not existing:\n"
        "            _place(book, position, stop, existing)\n",
    ),
    Mutation(
        "who was deposed does not notice",
        "services/kit/lease.py",
        "        if not held:\n",
        "        if held is None:\n",
    ),
    Mutation(
        "quantities are rounded up",
        "services/trade/filters.py",
        "        return _to_multiple(quantity, self.step_size, ROUND_FLOOR)\n",
        "        return _to_multiple(quantity, self.step_size, ROUND_CEILING)\n",
        ("tests/unit/trade", "tests/unit/exec_risk"),
    ),
    Mutation(
        "a fill goes through a float",
        CORE + "fills.py",
        "        book.wallet += fill.realized_pnl - fill.commission\n",
        "        book.wallet += Decimal(float(fill.realized_pnl - fill.commission))\n",
    ),
    Mutation(
        "a fill is applied as often as it is told",
        CORE + "fills.py",
        "    if key in book.seen_fills:\n",
        "    if key in ():\n",
    ),
    Mutation(
        "an exit passes through the gate of entries",
        CORE + "guard.py",
        "    if position.exit_reason is None:\n        position = replace(position",
        '    if book.trading_state.value == "HALTED":\n        return None\n'
        "    if position.exit_reason is None:\n        position = replace(position",
    ),
    Mutation(
        "a stop is not placed anew when its position grows",
        CORE + "stop_orders.py",
        "    if trigger is None or order.remaining < position.quantity:\n        return False\n",
        "    if trigger is None:\n        return False\n"
        "    if order.remaining:\n        return True\n",
    ),
    Mutation(
        "what a restart finds unknown counts as never sent",
        CORE + "reconcile.py",
        '        else:\n            orders.lost(book, order, "not among the open orders")\n',
        "        elif order.state is not OrderState.REJECTED:\n"
        '            orders.move(book, order, OrderState.REJECTED, "never_sent")\n',
    ),
    Mutation(
        "entries on their way reserve nothing",
        CORE + "state.py",
        "                total += self.pending_notional(order)\n"
        "        for execution in self.executing.entering():\n"
        "            total += self.unsent_notional(execution)\n",
        "                total += self.pending_notional(order) * 0\n",
        ("tests/unit/exec_risk/test_exec_trading.py",),
    ),
    Mutation(
        "a position may stay without a stop",
        "services/exec_risk/overdue.py",
        "        return [ProtectionOverdue(p) for p in late]\n",
        "        return [ProtectionOverdue(p) for p in late[:0]]\n",
    ),
    Mutation(
        "a request is signed with the time of its sending",
        "services/exec_risk/sender.py",
        "self._exchange.place(order, signed_at=signed_at)",
        "self._exchange.place(order, signed_at=int(self._clock.now().timestamp() * 1000))",
    ),
    Mutation(
        "what is not found at once was never sent",
        "services/exec_risk/sender.py",
        "                if report is not None or settled:\n",
        "                if report is not None or not settled or settled:\n",
    ),
    Mutation(
        "a difference of one reading is booked",
        CORE + "reconcile.py",
        "        elif book.drift.get(symbol) == (held, there) or any(\n",
        "        elif (held, there) or any(\n",
    ),
    Mutation(
        "an exit is sized once, whatever its entry fills on",
        CORE + "guard.py",
        "    if missing <= 0 or position.position_id in book.exit_hold:\n",
        "    if running or position.position_id in book.exit_hold:\n",
    ),
    Mutation(
        "a round that is decided late judges by its own time",
        CORE + "rounds.py",
        "    now = max(found.time, book.time)\n",
        "    now = found.time\n",
    ),
    Mutation(
        "entries go on while the account is halted",
        CORE + "rules/gates.py",
        "    return None if state is TradingState.ACTIVE else",
        "    return None if state else",
    ),
    Mutation(
        "a fill that turns a position round is one fill of one position",
        CORE + "fills.py",
        "        return (fill,)\n    share",
        "        return (fill,)\n    return (fill,)\n    share",
    ),
    Mutation(
        "the ledger keeps the older of two facts",
        "services/analytics/core/trades.py",
        "if ranks[0] == ranks[1] else ranks[0] > ranks[1]",
        "if ranks[0] == ranks[1] else ranks[0] < ranks[1]",
    ),
    Mutation(
        "the emergency latch is not read back",
        "services/exec_risk/book_reader.py",
        "        if latch is not None:\n",
        "        if latch is not None and not latch:\n",
        ("tests/integration/exec_risk",),
    ),
)
SHORT = ("a lost reply counts as never sent, and nobody asks by the client id", MUTATIONS[6].name)
"""Those that are tried in the short form, too."""
