"""What one simulated run is, and what came of it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.protection.protection_policy import ProtectionPolicy
from services.exec_risk.core.risk.risk_policy import RiskPolicy
from services.lab.simulation.faults import Fault
from services.lab.simulation.market import VENUE
from services.lab.simulation.story import Line
from services.trade.execution import ExecutionStrategy


class Pace(StrEnum):
    """How market time goes on."""

    LOCKSTEP = "lockstep"
    """The paper venue, waiting for `idle` at every point."""
    FREE = "free"
    """The paper venue by the wall clock."""
    EXCHANGE = "exchange"
    """As Binance: no points, orders take effect at once."""


_PACES = tuple(Pace)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One run: the same plan always gives the same story."""

    seed: int
    hours: float = 24.0
    symbols: int = 3
    timeframe: str = "15m"
    off: frozenset[Fault] = frozenset()
    """Kinds of faults that are switched off."""

    @property
    def dice(self) -> random.Random:
        """Numbers for what the seed decides before the start."""
        return random.Random(f"{self.seed}.plan")  # noqa: S311 - seeded on purpose

    @property
    def pace(self) -> Pace:
        """How market time goes on."""
        return _PACES[self.seed % 3]

    @property
    def replicas(self) -> int:
        """One, or a leader and a standby."""
        return 1 + (self.seed // 3) % 2

    def policy(self) -> Policy:
        """Return limits that are tight enough to be reached."""
        dice = self.dice
        largest = Decimal(dice.choice((2_000, 6_000, 10_000)))
        return Policy(
            venue=VENUE,
            timeframe=self.timeframe,
            max_positions=dice.choice((1, 2, 2, 10)),
            max_position_usd=largest,
            max_exposure_usd=largest * dice.choice((1, 2)) + 500,
            leverage=dice.choice((2, 5, 10)),
            max_daily_drawdown=Decimal(dice.choice(("0.02", "0.5"))),
            cooldown_ms=dice.choice((0, 180_000)),
            max_price_age_ms=2 * 15 * 60_000,
            protection=ProtectionPolicy(
                max_holding_ms=dice.choice((30, 60, 240)) * 60_000,
                dynamic=dice.random() < 0.7,
                trailing=dice.random() < 0.7,
            ),
            execution=ExecutionPolicy(
                entry_strategy=dice.choice(
                    (ExecutionStrategy.MARKET, ExecutionStrategy.MARKET, *ExecutionStrategy)
                ),
                timeout_ms=dice.choice((60_000, 900_000)),
            ),
            adopt_positions=dice.random() < 0.7,
            risk=RiskPolicy(
                max_net_share=Decimal(dice.choice(("0.8", "0.5"))),
                max_symbol_share=Decimal(dice.choice(("0.3", "0.6", "1"))),
                max_cluster_share=Decimal(dice.choice(("0.4", "0.8", "1"))),
                max_trades_per_day=dice.choice((200, 12, 4)),
                max_orders_per_minute=dice.choice((6, 6, 2, 1)),
            ),
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """Which invariant broke, and when."""

    name: str
    detail: str
    wall: float
    market: int


@dataclass(slots=True)
class Outcome:
    """What came of a run."""

    plan: RunPlan
    digest: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    failure: Failure | None = None
    lines: tuple[Line, ...] = ()
    virtual_seconds: float = 0.0
