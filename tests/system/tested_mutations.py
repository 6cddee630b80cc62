"""Defects that named tests find, faster than the simulation would."""

from __future__ import annotations

from tests.system.mutation import Mutation

CORE = "services/exec_risk/core/"
UNIT = "tests/unit/exec_risk/"

TESTED = (
    Mutation(
        "entries go on without a store",
        CORE + "rules/gates.py",
        "if book.gates.store_away else None",
        "if book.gates.store_away is None else None",
        (UNIT + "test_exec_store_away.py",),
    ),
    Mutation(
        "what waited is decided by the gates of before",
        "services/exec_risk/term/term.py",
        "                batch.insert(0, GatesChanged(gates))\n",
        "                batch.append(GatesChanged(gates))\n",
        (UNIT + "test_exec_gates.py",),
    ),
    Mutation(
        "the id of a forgotten order is used again",
        CORE + "reconciling/reconcile.py",
        "        owners.count_forgotten(book, snapshot)\n",
        "        owners.count_forgotten(book, ExchangeSnapshot(snapshot.account, (), ()))\n",
        (UNIT + "test_exec_found_forgotten.py",),
    ),
    Mutation(
        "a reading from before a fill is proof",
        CORE + "account/fills.py",
        "    _drop_doubts(book, fill.symbol)\n",
        '    _drop_doubts(book, "")\n',
        (UNIT + "test_exec_found_in_readings.py",),
    ),
    Mutation(
        "a reading under way stands for what is asked during it",
        "services/exec_risk/term/sender.py",
        """                self._causes[cause] = None
                if not self._reading:
""",
        """                if not self._reading:
                    self._causes[cause] = None
""",
        (UNIT + "test_exec_sender.py",),
    ),
    Mutation(
        "a fill that explains a doubt confirms what differs beside it",
        CORE + "reconciling/reconcile.py",
        "frozenset(key for key in confirmed if key[1] not in missed)",
        "frozenset(key for key in confirmed if missed or key)",
        (UNIT + "test_exec_found_in_readings.py",),
    ),
    Mutation(
        "an order of nobody counts as a position's protection",
        CORE + "rules/advice.py",
        "if entry.adds_to and entry.adds_to == order.position_id",
        "if entry.adds_to == order.position_id",
        (UNIT + "test_exec_found_in_readings.py",),
    ),
    Mutation(
        "only the best stop stays while an entry fills",
        CORE + "protection/stop_orders.py",
        "    spare -= position.quantity + _entering(book, position)\n",
        "    spare -= position.quantity\n",
        (UNIT + "test_exec_found_in_stops.py",),
    ),
    Mutation(
        "a request is signed with the time of its sending",
        "services/exec_risk/term/sender.py",
        "self._exchange.place(order, signed_at=signed_at)",
        "self._exchange.place(order, signed_at=int(self._clock.now().timestamp() * 1000))",
        (UNIT + "test_exec_sender.py",),
    ),
    Mutation(
        "a time-out counts as a refusal",
        "services/exec_risk/term/sender.py",
        '            outcome = Unknown(f"no answer within {self._limits.timeout_seconds} s")\n',
        '            outcome = Refused("timeout", "no answer", retryable=True)\n',
        (UNIT + "test_exec_sender.py",),
    ),
    Mutation(
        "the fence takes any token",
        "services/kit/postgres/lease.py",
        '"select true from lease where resource = $1 and token = $2 for share"',
        '"select true from lease where resource = $1 and token >= $2 for share"',
        ("tests/integration/exec_risk/test_exec_store.py::test_an_old_token_writes_nothing",),
    ),
    Mutation(
        "the emergency latch is not read back",
        "services/exec_risk/database/book_reader.py",
        "        if latch is not None:\n",
        "        if latch is not None and not latch:\n",
        (
            "tests/integration/exec_risk/test_exec_store.py"
            "::test_the_latch_survives_restarts_until_its_reset",
        ),
    ),
    Mutation(
        "a message is acknowledged before its work is done",
        "services/kit/bus/work.py",
        "        try:\n            await self._handler(fresh)\n",
        "        for delivery in fresh:\n            await delivery.ack()\n"
        "        try:\n            await self._handler(fresh)\n",
        ("tests/integration/kit/test_bus.py",),
    ),
    Mutation(
        "a stop follows the price back",
        CORE + "protection/trailing.py",
        "        if usable(price) and tighter(ride.side, price, stands):\n",
        "        if usable(price):\n",
        (UNIT + "test_exec_protection_trailing.py",),
    ),
    Mutation(
        "a target may lie below its costs",
        CORE + "rules/market.py",
        "    if entry.take_fraction > cost:\n",
        "    if entry.take_fraction > 0:\n",
        (UNIT + "test_exec_incidents.py",),
    ),
    Mutation(
        "a partial target may lie below its costs",
        CORE + "protection/targets.py",
        "        if ride.cost < distance < take_fraction and",
        "        if 0 < distance < take_fraction and",
        (UNIT + "test_exec_protection_targets.py",),
    ),
    Mutation(
        "an exit may open a position",
        "services/trade/order.py",
        "        return self.purpose is not OrderPurpose.ENTRY\n",
        "        return self.purpose not in (OrderPurpose.ENTRY, OrderPurpose.EXIT)\n",
        (UNIT + "test_exec_incidents.py",),
    ),
    Mutation(
        "an exit is sent without its flag",
        "services/exec_risk/exchange/orders.py",
        "    elif order.reduce_only:\n",
        "    elif order.reduce_only and is_conditional(order):\n",
        ("tests/unit/exchange/test_exchange_orders.py",),
    ),
    Mutation(
        "an exit that was refused is not tried again",
        CORE + "trader.py",
        "        book.exit_hold.clear()\n",
        "        book.exit_hold.intersection_update(book.plans)\n",
        (UNIT + "test_exec_protection_exits.py",),
    ),
    Mutation(
        "what fills after the emergency stop stays open",
        CORE + "trader.py",
        "        if self.book.latch is not None:\n            emergency.sweep(self.book)\n",
        "",
        (UNIT + "test_exec_emergency.py::test_whatever_comes_after_the_stop_ends_flat",),
    ),
    Mutation(
        "an exit passes through the gate of entries",
        CORE + "protection/guard.py",
        "    if position.exit_reason is None:\n        position = replace(position",
        '    if book.trading_state.value == "HALTED":\n        return None\n'
        "    if position.exit_reason is None:\n        position = replace(position",
        (UNIT + "test_exec_rules.py::test_exits_pass_in_full_whatever_is_closed",),
    ),
    Mutation(
        "funding is applied as often as it is told",
        CORE + "account/funding.py",
        "    if report.transaction_id in book.seen_funding or",
        "    if report.transaction_id in () or",
        (UNIT + "test_exec_incidents.py",),
    ),
    Mutation(
        "what a restart finds unknown counts as never sent",
        CORE + "reconciling/reconcile.py",
        '        else:\n            orders.lost(book, order, "not among the open orders")\n',
        "        elif order.state is not OrderState.REJECTED:\n"
        '            orders.move(book, order, OrderState.REJECTED, "never_sent")\n',
        (UNIT + "test_exec_restart.py",),
    ),
    Mutation(
        "a stop is not placed anew when its position grows",
        CORE + "protection/stop_orders.py",
        "    if trigger is None or order.remaining < position.quantity:\n        return False\n",
        "    if trigger is None:\n        return False\n"
        "    if order.remaining:\n        return True\n",
        (UNIT + "test_exec_protection.py",),
    ),
    Mutation(
        "what an entry may still add is forgotten between two of its parts",
        CORE + "protection/stop_orders.py",
        "    return max(live, sum(follow, Decimal(0)))\n",
        "    return live if follow else live\n",
        (UNIT + "test_exec_found_in_stops.py",),
    ),
    Mutation(
        "a stop whose cancel may still arrive counts as protection",
        CORE + "orders/orders.py",
        "    return name in book.cancelling or name in book.leaving\n",
        "    return name in book.cancelling\n",
        (UNIT + "test_exec_found_in_stops.py",),
    ),
    Mutation(
        "a cancel is asked for again before it is known what became of the one before",
        CORE + "orders/orders.py",
        " or name in book.unanswered:\n",
        ":\n",
        (UNIT + "test_exec_cancels_once.py",),
    ),
    Mutation(
        "a restart forgets which cancels are on their way",
        CORE + "orders/orders.py",
        "    book.emit(StoreCancel(order.client_order_id))\n",
        "",
        (UNIT + "test_exec_restart_cancels.py",),
    ),
    Mutation(
        "a difference of one reading is booked",
        CORE + "reconciling/drift.py",
        "        elif book.drift.get(symbol) == (held, there) or any(\n",
        "        elif (held, there) or any(\n",
        (UNIT + "test_exec_found_in_readings.py",),
    ),
    Mutation(
        "an exit is sized once, whatever its entry fills on",
        CORE + "protection/guard.py",
        "    if missing <= 0 or position.position_id in book.exit_hold:\n",
        "    if running or position.position_id in book.exit_hold:\n",
        (UNIT + "test_exec_found_in_fills.py",),
    ),
    Mutation(
        "entries go on while the account is halted",
        CORE + "rules/gates.py",
        "    return None if state is TradingState.ACTIVE else",
        "    return None if state else",
        (UNIT + "test_exec_rules.py::test_each_gate_is_the_reason_of_its_refusal",),
    ),
    Mutation(
        "entries go on while an emergency stop is latched",
        CORE + "rules/gates.py",
        "    return None if latch is None else",
        "    return None if latch is None or latch else",
        (UNIT + "test_exec_rules.py::test_each_gate_is_the_reason_of_its_refusal",),
    ),
    Mutation(
        "entries go on while equity is not known",
        CORE + "rules/gates.py",
        '    if equity is None:\n        return "equity is not known"\n',
        "    if equity is None:\n        return None\n",
        (UNIT + "test_exec_rules.py::test_each_gate_is_the_reason_of_its_refusal",),
    ),
    Mutation(
        "a wallet that nobody knows is empty",
        CORE + "state.py",
        "        return None if self.wallet is None else self.wallet + self.unrealized()\n",
        "        return (self.wallet or Decimal(0)) + self.unrealized()\n",
        (UNIT + "test_exec_trading.py",),
    ),
    Mutation(
        "a price may be of any age",
        CORE + "rules/market.py",
        "if age > limit else None\n",
        "if age < 0 else None\n",
        (UNIT + "test_exec_rules.py::test_a_price_that_is_older_than_its_limit_refuses",),
    ),
    Mutation(
        "an order of unknown outcome does not block its symbol",
        CORE + "executions/executing.py",
        "    return bool(blocked_by(book)) or stale or any(unknown)\n",
        "    return bool(blocked_by(book)) or stale\n",
        (UNIT + "test_exec_executions_end.py",),
    ),
    Mutation(
        "an entry is sent before its leverage is verified",
        CORE + "executions/executing.py",
        "    confirmed = execution.reduce_only or book.leverage",
        "    confirmed = True or book.leverage",
        (UNIT + "test_exec_trading.py",),
    ),
    Mutation(
        "any leverage that is read back will do",
        CORE + "risk/entries.py",
        "        if answer.leverage == plan.leverage:\n",
        "        if answer.leverage is not None:\n",
        (UNIT + "test_exec_trading.py",),
    ),
    Mutation(
        "entries on their way reserve nothing",
        CORE + "state.py",
        "            total += self.pending_notional(order)\n"
        "        for execution in self.executing.entering():\n"
        "            total += self.unsent_notional(execution)\n",
        "            total += self.pending_notional(order) * 0\n",
        (UNIT + "test_exec_trading.py",),
    ),
    Mutation(
        "one signal may be ordered again",
        CORE + "risk/entries.py",
        "    if (plan.position_id, OrderPurpose.ENTRY) in book.counts:\n",
        "    if (plan.position_id, OrderPurpose.ENTRY) in ():\n",
        (UNIT + "test_exec_trading.py",),
    ),
    Mutation(
        "a round that is decided late judges by its own time",
        CORE + "rounds.py",
        "    now = max(found.time, book.time)\n",
        "    now = found.time\n",
        (UNIT + "test_exec_found_in_rounds.py",),
    ),
    Mutation(
        "a fill that turns a position round is one fill",
        CORE + "account/fills.py",
        "        return (fill,)\n    share",
        "        return (fill,)\n    return (fill,)\n    share",
        (UNIT + "test_exec_found_in_fills.py",),
    ),
    Mutation(
        "a fill of a final order is refused",
        CORE + "account/fills.py",
        "    late = order.state.final\n",
        "    late = order.state.final\n    if late:\n        return\n",
        (UNIT + "test_exec_trading.py",),
    ),
    Mutation(
        "who slept goes on without the store",
        "services/exec_risk/term/keeper.py",
        "        return slept or self._woke is not None\n",
        "        return False\n",
        ("tests/unit/exec_risk/test_exec_keeper.py",),
    ),
    Mutation(
        "quantities are rounded up",
        "services/trade/filters.py",
        "        return _to_multiple(quantity, self.step_size, ROUND_FLOOR)\n",
        "        return _to_multiple(quantity, self.step_size, ROUND_CEILING)\n",
        ("tests/unit/trade/test_values.py",),
    ),
    Mutation(
        "quantities are rounded by way of a float",
        "services/trade/filters.py",
        "    return (value / step).to_integral_value",
        "    return Decimal(float(value) / float(step)).to_integral_value",
        ("tests/unit/trade/test_values.py",),
    ),
    Mutation(
        "the ledger keeps the older of two facts",
        "services/analytics/core/trades.py",
        "if ranks[0] == ranks[1] else ranks[0] > ranks[1]",
        "if ranks[0] == ranks[1] else ranks[0] < ranks[1]",
        ("tests/unit/analytics/test_trade_projection.py",),
    ),
)
