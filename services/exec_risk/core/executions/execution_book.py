"""What executions rest on: those that work and those of late, quotes, and volumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.exec_risk.core.executions.volume_profile import VolumeProfile, profile_of
from services.trade.candle import Candle
from services.trade.execution import Execution


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and ask at a market time."""

    bid: Decimal
    ask: Decimal
    time: int


@dataclass(slots=True)
class ExecutionBook:
    """Executions of an account, and what is known of its symbols' markets."""

    all: dict[str, Execution] = field(default_factory=dict)
    """Executions by id: all that work, and the ended ones of late."""
    quotes: dict[str, Quote] = field(default_factory=dict)
    volumes: dict[str, VolumeProfile] = field(default_factory=dict)
    cancel_tried: set[str] = field(default_factory=set)
    """Client order ids whose cancel was answered with a refusal; tried again at the next tick."""
    untold: dict[str, str] = field(default_factory=dict)
    """Causes of changes in this step, by execution id."""
    _working: dict[str, Execution] = field(default_factory=dict)

    def put(self, execution: Execution) -> None:
        """Take in an execution, new or changed."""
        self.all[execution.execution_id] = execution
        if execution.state.final:
            self._working.pop(execution.execution_id, None)
        else:
            self._working[execution.execution_id] = execution

    @property
    def busy(self) -> bool:
        """True while an execution is not final."""
        return bool(self._working)

    @property
    def working(self) -> list[Execution]:
        """Executions that are not final, oldest first."""
        return list(self._working.values())

    def entering(self, symbol: str | None = None) -> list[Execution]:
        """Return working executions that may make a position larger."""
        return [
            e
            for e in self._working.values()
            if not e.reduce_only and (symbol is None or e.symbol == symbol)
        ]

    def of_position(self, position_id: str) -> list[Execution]:
        """Return the entry executions of a position, working or ended."""
        return [e for e in self.all.values() if e.position_id == position_id and not e.reduce_only]

    def saw(self, candle: Candle) -> None:
        """Take a closed candle into its symbol's profile."""
        known = self.volumes.get(candle.symbol)
        self.volumes[candle.symbol] = (
            profile_of(candle) if known is None else known.with_candle(candle)
        )

    def quoted_spread(self, symbol: str) -> Decimal:
        """Return the quoted spread as a fraction of the mid price; 0 when none is known."""
        quote = self.quotes.get(symbol)
        if quote is None:
            return Decimal(0)
        return 2 * (quote.ask - quote.bid) / (quote.ask + quote.bid)

    def forget(self, before: int, held: set[str]) -> None:
        """Drop executions that ended before a market time and whose position is not held."""
        old = [
            k
            for k, e in self.all.items()
            if e.state.final and e.updated_time < before and e.position_id not in held
        ]
        for key in old:
            del self.all[key]
