"""A market of a few symbols, made from the seed: wandering prices, gaps, thin volumes."""

from __future__ import annotations

import random
from decimal import Decimal

from services.lab.simulation.faults import Fault, Faults
from services.trade.candle import Candle
from services.trade.filters import SymbolFilters
from services.trade.times import timeframe_ms
from services.venue.core.rules import Bracket, SymbolRules

VENUE = "paper"
START = 1_767_571_200_000 - 2 * 3_600_000
"""Two hours before a UTC day begins, so that short runs see a change of day, too."""
_LISTINGS = (
    ("BTCUSDT", 920_000, 1, 3, 100),
    ("ETHUSDT", 315_000, 2, 3, 20),
    ("SOLUSDT", 13_800, 2, 2, 5),
    ("XRPUSDT", 21_500, 4, 1, 5),
    ("BNBUSDT", 89_000, 2, 2, 5),
    ("ADAUSDT", 4_200, 4, 0, 5),
)
"""Symbol, price in ticks, decimals of the price, decimals of the quantity, least notional."""
LARGEST = len(_LISTINGS)


class SimulatedMarket:
    """Candles of all symbols, one round after the other."""

    def __init__(self, faults: Faults, symbols: int, timeframe: str) -> None:
        self._faults = faults
        self._dice = random.Random(f"{faults.seed}.market")  # noqa: S311 - seeded on purpose
        self.timeframe = timeframe
        self.interval = timeframe_ms(timeframe)
        self._listed = _LISTINGS[:symbols]
        self._ticks = {one[0]: one[1] for one in self._listed}
        self._sigma = self._dice.choice((0.001, 0.003, 0.008))
        self.rules = {one[0]: _rules(*one) for one in self._listed}
        self._decimals = {one[0]: (one[2], one[3]) for one in self._listed}
        self.symbols = tuple(sorted(self._ticks))
        """All symbols, in order."""

    def marks(self) -> dict[str, Decimal]:
        """Return the prices before the first round."""
        return {s: _scaled(t, self._decimals[s][0]) for s, t in self._ticks.items()}

    def round(self, index: int) -> dict[str, Candle]:
        """Return the next round's candles; to be asked for in order."""
        open_time = START + index * self.interval
        return {symbol: self._candle(symbol, open_time) for symbol in self.symbols}

    def _candle(self, symbol: str, open_time: int) -> Candle:
        dice, last = self._dice, self._ticks[symbol]
        move, reach = dice.gauss(0, self._sigma), abs(dice.gauss(0, self._sigma))
        if self._faults.strikes(Fault.PRICE_GAP, 0.03):
            last = max(
                int(last * (1 + self._faults.stream(Fault.PRICE_GAP).uniform(-0.04, 0.04))), 10
            )
        close = max(int(last * (1 + move)), 10)
        high = int(max(last, close) * (1 + reach / 2)) + 1
        low = max(int(min(last, close) * (1 - reach / 2)), 1)
        self._ticks[symbol] = close
        price, lots = self._decimals[symbol]
        turnover = 2_000_000.0
        if self._faults.strikes(Fault.THIN_MARKET, 0.3):
            turnover = self._faults.stream(Fault.THIN_MARKET).uniform(5_000, 60_000)
        volume = int(turnover / (close / 10**price) * 10**lots) + 1
        return Candle(
            VENUE,
            symbol,
            self.timeframe,
            open_time,
            _scaled(last, price),
            _scaled(high, price),
            _scaled(low, price),
            _scaled(close, price),
            _scaled(volume, lots),
        )


def _rules(symbol: str, _: int, price: int, lots: int, least: int) -> SymbolRules:
    step = Decimal(1).scaleb(-lots)
    filters = SymbolFilters(
        symbol=symbol,
        tick_size=Decimal(1).scaleb(-price),
        step_size=step,
        min_quantity=step,
        max_quantity=step * 10_000_000,
        market_max_quantity=step * 1_000_000,
        min_notional=Decimal(least),
        max_leverage=50,
    )
    cap = Decimal(1_000_000)
    brackets = (
        Bracket(1, 50, Decimal(0), Decimal(100_000), Decimal("0.005"), Decimal(0)),
        Bracket(2, 20, Decimal(100_000), cap, Decimal("0.01"), Decimal(500)),
    )
    return SymbolRules(filters, brackets)


def _scaled(number: int, decimals: int) -> Decimal:
    return Decimal(number).scaleb(-decimals)
