"""Steps: the market moves from point to point of the candles' paths, all symbols together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.trade.candle import Candle

POINTS = 4
"""Points in the path of a candle."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where a symbol's price stands after a step."""

    symbol: str
    price: Decimal
    volume: Decimal
    """Base asset that the market trades around this point."""
    continuous: bool
    """True when the price came here from the last point through every price between."""


@dataclass(frozen=True, slots=True)
class Step:
    """One move of the market. `number` counts from 1; `time` is market time."""

    number: int
    time: int
    points: tuple[Point, ...]
    closed: tuple[Candle, ...] = ()
    """Candles that close at this step, by symbol."""


def round_of(number: int) -> int:
    """Return the index of the round (candle interval) that a step belongs to, from 0."""
    return (number - 1) // POINTS


def steps_of_round(index: int, candles: Sequence[Candle] | Mapping[str, Candle]) -> list[Step]:
    """Return the four steps of a round whose candles all open at the same time."""
    bars = list(candles.values()) if isinstance(candles, Mapping) else list(candles)
    bars.sort(key=lambda candle: candle.symbol)
    paths = [candle.path() for candle in bars]
    share = [candle.volume / POINTS for candle in bars]
    steps = []
    for place in range(POINTS):
        points = tuple(
            Point(bar.symbol, path[place][1], volume, continuous=place > 0)
            for bar, path, volume in zip(bars, paths, share, strict=True)
        )
        closed = tuple(bars) if place == POINTS - 1 else ()
        number = index * POINTS + place + 1
        steps.append(Step(number, paths[0][place][0], points, closed))
    return steps
