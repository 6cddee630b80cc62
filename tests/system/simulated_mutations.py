"""Defects that the simulation finds by what must hold, knowing nothing of them."""

from __future__ import annotations

from tests.system.mutation import Mutation

CORE = "services/exec_risk/core/"

SIMULATED = (
    Mutation(
        "nobody asks by the client id after a lost reply",
        CORE + "trader.py",
        "            orders.lost(self.book, order, outcome.reason)\n",
        '            never = Refused("never_sent", outcome.reason, retryable=True)\n'
        '            self._refused(order, never, "lost")\n',
        seeds=12,
    ),
    Mutation(
        "what is not found at once was never sent",
        "services/exec_risk/term/sender.py",
        "                if report is not None or (settled and not again):\n",
        "                if True:\n",
    ),
    Mutation(
        "a request is sent before its intent is committed",
        "services/exec_risk/term/term.py",
        "            signed_at = await step.settled\n",
        "            signed_at = int(self._clock.now().timestamp() * 1000)\n",
    ),
    Mutation(
        "who was deposed does not notice",
        "services/kit/postgres/lease.py",
        "        if not held:\n",
        "        if held is None:\n",
    ),
    Mutation(
        "a stop is cancelled, then placed anew",
        CORE + "protection/stop_orders.py",
        "        _place(book, position, stop, existing)\n",
        "        for one in existing:\n"
        "            orders.cancel(book, one)\n"
        "        if not existing:\n"
        "            _place(book, position, stop, existing)\n",
        seeds=12,
    ),
    Mutation(
        "a stop of unknown outcome counts as protection",
        CORE + "protection/stop_orders.py",
        "    return order.state in LIVE_ON_EXCHANGE and",
        "    return not order.state.final and",
    ),
    Mutation(
        "a position may stay without a stop",
        "services/exec_risk/term/overdue.py",
        "        return [ProtectionOverdue(p) for p in late]\n",
        "        return [ProtectionOverdue(p) for p in late[:0]]\n",
    ),
    Mutation(
        "what an execution sends next is the whole quantity again",
        "services/trade/execution.py",
        "        return max(self.quantity - self.filled_quantity, Decimal(0))\n",
        "        return self.quantity if self.filled_quantity < self.quantity else Decimal(0)\n",
    ),
    Mutation(
        "a fill goes through a float",
        CORE + "account/fills.py",
        "        book.wallet += fill.realized_pnl - fill.commission\n",
        "        book.wallet += Decimal(float(fill.realized_pnl - fill.commission))\n",
    ),
    Mutation(
        "a fill is applied as often as it is told",
        CORE + "account/fills.py",
        "    if key in book.seen_fills or book.past(fill):\n",
        "    if key in () or book.past(fill):\n",
        seeds=12,
    ),
    Mutation(
        "a fill that is read back is applied though it was told",
        CORE + "account/fills.py",
        "    if key in book.seen_fills or book.past(fill):\n",
        '    if (key in book.seen_fills or book.past(fill)) and cause == "user_stream":\n',
    ),
    Mutation(
        "net exposure has no limit",
        CORE + "risk/entry.py",
        "capacity * risk.max_net_share - exposure.of_side(book, side)",
        "capacity",
    ),
    Mutation(
        "a symbol may take all of the exposure",
        CORE + "risk/entry.py",
        "capacity * risk.max_symbol_share - exposure.of_symbol(book, symbol)",
        "capacity",
    ),
    Mutation(
        "a cluster may take all of the exposure",
        CORE + "risk/entry.py",
        "capacity * risk.max_cluster_share",
        "capacity * 9",
    ),
    Mutation(
        "entries follow each other without a pause",
        CORE + "rules/account.py",
        "        entry_counts.entries_since(entry.book, MINUTE_MS),\n",
        "        min(0, entry_counts.entries_since(entry.book, MINUTE_MS)),\n",
    ),
    Mutation(
        "trades of a day are not counted",
        CORE + "rules/account.py",
        "used, limit = entry_counts.entries_today(entry.book), entry",
        "used, limit = 0, entry",
    ),
    Mutation(
        "what an expired signal ordered goes on",
        CORE + "executions/executing.py",
        "plan.expires_at and book.time > plan.expires_at:",
        "plan.expires_at < 0:",
    ),
)
