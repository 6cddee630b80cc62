"""From a market's rounds to numbered steps with the funding that falls due at each."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.trade.candle import Candle
from services.trade.times import timeframe_ms
from services.venue.core.snapshot import pack, unpack
from services.venue.core.steps import Point, Step, round_of, steps_of_round
from services.venue.markets.market import Market


@dataclass(frozen=True, slots=True)
class Moment:
    """A step and the funding rates that are paid at it, by symbol."""

    step: Step
    funding: dict[str, Decimal]


def pack_moment(moment: Moment) -> dict[str, Any]:
    """Return a moment as JSON-able data."""
    step = moment.step
    return {
        "number": step.number,
        "time": step.time,
        "points": [pack(point) for point in step.points],
        "closed": [pack(candle) for candle in step.closed],
        "funding": {symbol: str(rate) for symbol, rate in moment.funding.items()},
    }


def unpack_moment(data: dict[str, Any]) -> Moment:
    """Return the moment that was packed."""
    step = Step(
        data["number"],
        data["time"],
        tuple(unpack(Point, point) for point in data["points"]),
        tuple(unpack(Candle, candle) for candle in data["closed"]),
    )
    return Moment(step, {symbol: Decimal(rate) for symbol, rate in data["funding"].items()})


class ReplayFeed:
    """Steps of a market whose candles are known beforehand: any step can be had at any time."""

    def __init__(self, market: Market, funding_interval_ms: int) -> None:
        self._market = market
        self._interval = timeframe_ms(market.timeframe)
        self._funding_interval = funding_interval_ms
        self._round = -1
        self._steps: list[Step] = []

    def at(self, number: int) -> Moment | None:
        """Return a step; None when the market has ended before it."""
        index = round_of(number)
        if index != self._round:
            candles = self._market.round(index)
            if not candles:
                return None
            self._round, self._steps = index, steps_of_round(index, candles)
        step = self._steps[(number - 1) % len(self._steps)]
        return Moment(step, self._due(step))

    async def ready(self, number: int) -> None:
        """Return at once: every step is known."""
        del number

    def ends_with(self, number: int) -> bool:
        """Tell whether this step is the last one."""
        last_of_round = round_of(number + 1) != round_of(number)
        return last_of_round and not self._market.round(round_of(number + 1))

    def _due(self, step: Step) -> dict[str, Decimal]:
        """Sum the rates of all funding times within the candles that close at this step."""
        if not step.closed:
            return {}
        every = self._funding_interval
        first = (step.time - self._interval) // every * every + every
        times = range(first, step.time + 1, every)
        if not times:
            return {}
        return {
            candle.symbol: sum(
                (self._market.funding_rate(candle.symbol, time) for time in times), Decimal(0)
            )
            for candle in step.closed
        }
