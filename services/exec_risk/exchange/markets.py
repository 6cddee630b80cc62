"""What the exchange trades and how: filters, leverage tiers, rate limits, past candles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.exec_risk.exchange import endpoints, parse
from services.exec_risk.exchange.gate import Gate
from services.exec_risk.exchange.limits import rate_limits
from services.exec_risk.exchange.requests import Params, Requests
from services.exec_risk.exchange.settings import ExchangeSettings
from services.kit.observe.logs import get_logger
from services.trade.candle import Candle
from services.trade.filters import SymbolFilters

log = get_logger(__name__)

CANDLE_PAGE = 1_000


class Markets:
    """Reads the markets. Raises ExchangeRefused or ExchangeUnavailable."""

    def __init__(
        self,
        requests: Requests,
        gate: Gate,
        settings: ExchangeSettings,
        *,
        market_now: Callable[[], Awaitable[int]],
    ) -> None:
        self._requests = requests
        self._gate = gate
        self._settings = settings
        self._market_now = market_now
        self.known: dict[str, SymbolFilters] = {}
        """Filters as they were read last."""

    async def read(self) -> dict[str, SymbolFilters]:
        """Read every symbol that can be traded; odd ones are left out (incident 54)."""
        info, brackets = await asyncio.gather(
            self._requests.read(endpoints.EXCHANGE_INFO),
            self._requests.read(endpoints.LEVERAGE_BRACKETS),
        )
        self._gate.set_limits(rate_limits(info.get("rateLimits", ()), self._gate.limits))
        tiers = parse.leverage_tiers(brackets)
        wanted, found = frozenset(self._settings.symbols), {}
        for raw in info["symbols"]:
            if not parse.tradable(raw, self._settings.quote_asset):
                continue
            if wanted and raw.get("symbol") not in wanted:
                continue
            try:
                parsed = parse.symbol_filters(raw, tiers.get(str(raw.get("symbol")), ()))
            except ValueError as error:
                log.warning("symbol_left_out", symbol=raw.get("symbol"), error=str(error))
                continue
            found[parsed.symbol] = parsed
        for symbol in sorted(wanted - set(found)):
            log.warning("symbol_not_tradable", symbol=symbol)
        self.known = found
        return dict(found)

    async def changed(self) -> dict[str, SymbolFilters]:
        """Read the markets again; return what is new or has other filters than before."""
        before = self.known
        return {s: f for s, f in (await self.read()).items() if before.get(s) != f}

    async def history(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """Read the last closed candles, oldest first, at most 999."""
        rows_wanted = min(limit + 1, CANDLE_PAGE)
        params: Params = {"symbol": symbol, "interval": timeframe, "limit": rows_wanted}
        cost = endpoints.klines_cost(rows_wanted)
        rows = await self._requests.read(endpoints.KLINES, params, cost=cost)
        venue = self._settings.venue
        candles = [parse.candle(row, venue, symbol, timeframe) for row in rows]
        now = await self._market_now()
        return [c for c in candles if c.close_time <= now][-limit:]
