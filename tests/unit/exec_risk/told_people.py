"""Operators and callers of a told story."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

from services.exec_risk.core import inputs
from services.trade.execution import ExecutionStrategy
from services.trade.order import Side
from services.trade.position import TradingState
from tests.unit.exec_risk.account_desk import MINUTE
from tests.unit.exec_risk.told_exchange import SYMBOLS

D = Decimal
ACTIVE = TradingState.ACTIVE
_ASKED = ("close", "halt", "submit", "submit", "cancel", "cancel", "stop")


class People:
    """Operators and callers: they ask by the seed, whatever else is told; every third seed none."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed + 1)  # noqa: S311 - a seeded test
        self.share = 0.2 if seed % 3 else 0.0
        self.asked: list[str] = []
        """Kinds of what was asked."""

    def told(self, command: inputs.Command) -> None:
        """Remember what was asked last."""
        closes = isinstance(command, inputs.SetTradingState) and command.state is not ACTIVE
        self.asked.append("halt" if closes else type(command).__name__)

    def ask(self, request_id: str, resting: list[str]) -> inputs.Command | None:
        """Return what is asked at a point, under an id of its own."""
        if self.dice.random() >= self.share:
            return None
        symbol, side = self.dice.choice(SYMBOLS), self.dice.choice(list(Side))
        last = self.asked[-1] if self.asked else ""
        if last == "EmergencyStop":
            return inputs.ResetEmergency(request_id, "over", "a person")
        if last in ("ResetEmergency", "halt"):
            return inputs.SetTradingState(request_id, ACTIVE, "over")
        match self.dice.choice(_ASKED):
            case "close":
                return inputs.ClosePosition(request_id, symbol)
            case "halt":
                state = self.dice.choice((TradingState.REDUCING, TradingState.HALTED))
                return inputs.SetTradingState(request_id, state, "a drill")
            case "cancel" if resting:
                return inputs.CancelOrder(request_id, self.dice.choice(resting))
            case "stop":
                return inputs.EmergencyStop(request_id, "a drill", "a person")
            case _:
                how = self.dice.choice(list(ExecutionStrategy))
                wanted = inputs.SubmitExecution(
                    request_id, symbol, side, how, quantity=D(3), duration_ms=2 * MINUTE
                )
                return replace(wanted, reduce_only=self.dice.random() < 0.3)
