"""The bus: closed candles to ai, its answers and analytics' progress back; late, twice, or away."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from services.exec_risk.core.inputs import PredictionsArrived
from services.lab.simulation.faults import Fault
from services.lab.simulation.ground import Ground
from services.lab.simulation.replicas import Replicas
from services.trade.candle import Candle

_RECENT_ANSWERS = 8
_LOOK_SECONDS = 0.5


class SimulatedBus:
    """Carries messages; while it is away they wait, and what only informs is lost."""

    def __init__(self, ground: Ground, replicas: Replicas) -> None:
        self._ground, self._replicas = ground, replicas
        self._loop, self._network = ground.loop, ground.network
        self._asked: set[str] = set()
        self.away_until = 0.0
        self.answers: deque[PredictionsArrived] = deque(maxlen=_RECENT_ANSWERS)
        """The last answers, which a process that starts reads again."""

    async def take_candles(self, candles: Sequence[Candle], history: bool) -> None:
        """Take candles of a publisher; ai answers each of them once."""
        while self._loop.time() < self.away_until:
            await self._loop.pause(_LOOK_SECONDS)
        await self._network.wait(self._network.hop(0.01))
        for candle in () if history else candles:
            if candle.key not in self._asked:
                self._asked.add(candle.key)
                self._predict(candle)

    def _predict(self, candle: Candle) -> None:
        faults = self._ground.faults
        batch = self._ground.script.answer(candle)
        delay = self._network.hop(0.05)
        if faults.strikes(Fault.SIGNAL_LATE, 0.05):
            delay += faults.stream(Fault.SIGNAL_LATE).uniform(0.5, 12.0)
        times = 2 if faults.strikes(Fault.SIGNAL_REPEATED, 0.1) else 1
        for number in range(times):
            self._network.later(delay + number * 0.3, lambda: self._deliver(batch))

    def _deliver(self, batch: PredictionsArrived) -> None:
        away = self.away_until - self._loop.time()
        if away > 0:
            self._network.later(away, lambda: self._deliver(batch))
            return
        self.answers.append(batch)
        for replica in self._replicas.alive():
            replica.leader.put(batch)

    def observed(self, time: int) -> None:
        """Tell that analytics has taken in a round."""
        if self._loop.time() >= self.away_until:
            for replica in self._replicas.alive():
                replica.leader.round_observed(time)
