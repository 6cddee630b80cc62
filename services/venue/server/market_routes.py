"""Market data: symbols, prices, candles, funding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.venue.core.rejections import invalid_symbol
from services.venue.core.rules import SymbolRules
from services.venue.exchange import PaperExchange
from services.venue.server.books import Books
from services.venue.server.calls import Call, Json, Route, Routes
from services.venue.server.candles import Candles, row
from services.venue.server.formats import ASSET, number
from services.venue.server.limits import Limits
from services.venue.server.quotes import Quotes

_PERPETUAL_DELIVERY = 4_133_404_800_000
_ORDER_TYPES = [
    "LIMIT",
    "MARKET",
    "STOP",
    "STOP_MARKET",
    "TAKE_PROFIT",
    "TAKE_PROFIT_MARKET",
    "TRAILING_STOP_MARKET",
]
_DEPTH_LIMITS = ((50, 2), (100, 5), (500, 10))
_SMALL_LIMITS = ((100, 1), (500, 2), (1000, 5))


class MarketRoutes:
    """The endpoints of market data."""

    def __init__(
        self,
        exchange: PaperExchange,
        candles: Candles,
        quotes: Quotes,
        books: Books,
        limits: Limits,
        wall_ms: Callable[[], int],
    ) -> None:
        self._exchange = exchange
        self._candles = candles
        self._quotes = quotes
        self._books = books
        self._limits = limits
        self._wall_ms = wall_ms

    def table(self) -> Routes:
        """Return the routes."""
        v1 = "/fapi/v1"
        return {
            ("GET", f"{v1}/ping"): Route(self.ping),
            ("GET", f"{v1}/time"): Route(self.time),
            ("GET", f"{v1}/exchangeInfo"): Route(self.exchange_info),
            ("GET", f"{v1}/klines"): Route(self.klines, weight=_kline_weight),
            ("GET", f"{v1}/markPriceKlines"): Route(self.klines, weight=_kline_weight),
            ("GET", f"{v1}/ticker/24hr"): Route(self.day, weight=_one_or(1, 40)),
            ("GET", f"{v1}/ticker/bookTicker"): Route(self.book_ticker, weight=_one_or(2, 5)),
            ("GET", f"{v1}/ticker/price"): Route(self.price, weight=_one_or(1, 2)),
            ("GET", "/fapi/v2/ticker/price"): Route(self.price, weight=_one_or(1, 2)),
            ("GET", f"{v1}/premiumIndex"): Route(self.premium),
            ("GET", f"{v1}/fundingRate"): Route(self.funding_history),
            ("GET", f"{v1}/fundingInfo"): Route(self.funding_info),
            ("GET", f"{v1}/depth"): Route(self.depth, weight=_depth_weight),
        }

    def ping(self, call: Call) -> Json:
        """GET ping."""
        del call
        return {}

    def time(self, call: Call) -> Json:
        """GET time: the wall's, since requests are signed with it."""
        del call
        return {"serverTime": self._wall_ms()}

    def exchange_info(self, call: Call) -> Json:
        """GET exchangeInfo."""
        del call
        return {
            "timezone": "UTC",
            "serverTime": self._wall_ms(),
            "futuresType": "U_MARGINED",
            "rateLimits": [
                _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, self._limits.weight_limit),
                _rate_limit("ORDERS", "MINUTE", 1, self._limits.orders_1m),
                _rate_limit("ORDERS", "SECOND", 10, self._limits.orders_10s),
            ],
            "exchangeFilters": [],
            "assets": [{"asset": ASSET, "marginAvailable": True, "autoAssetExchange": "0"}],
            "symbols": [
                self._symbol_info(symbol, rules)
                for symbol, rules in sorted(self._exchange.engine.state.symbols.items())
            ],
        }

    def klines(self, call: Call) -> Json:
        """GET klines; the last row is the forming bar."""
        symbol = self._symbol(call)
        bars = self._candles.bars(
            symbol,
            call.text("interval"),
            since=call.integer("startTime", -1) if "startTime" in call.parameters else None,
            until=call.integer("endTime", -1) if "endTime" in call.parameters else None,
            limit=call.limit(500, 1500),
        )
        return [row(bar) for bar in bars]

    def day(self, call: Call) -> Json:
        """GET ticker/24hr of one or all symbols."""
        return self._each(call, self._candles.day)

    def book_ticker(self, call: Call) -> Json:
        """GET ticker/bookTicker of one or all symbols."""
        return self._each(call, self._book_ticker)

    def price(self, call: Call) -> Json:
        """GET ticker/price of one or all symbols."""
        return self._each(call, self._price)

    def premium(self, call: Call) -> Json:
        """GET premiumIndex of one or all symbols."""
        return self._each(call, self._premium)

    def funding_history(self, call: Call) -> Json:
        """GET fundingRate: rates that were paid, oldest first."""
        symbol = self._symbol(call)
        every = self._exchange.engine.state.rules.funding_interval_ms
        market = self._exchange.market
        first = max(call.integer("startTime", 0), market.history_from(symbol))
        last = min(call.integer("endTime", self._exchange.time), self._exchange.time)
        times = list(range(-(-first // every) * every, last + 1, every))
        limit = call.limit(100, 1000)
        chosen = times[:limit] if "startTime" in call.parameters else times[-limit:]
        return [
            {
                "symbol": symbol,
                "fundingTime": time,
                "fundingRate": number(market.funding_rate(symbol, time)),
                "markPrice": self._price_at(symbol, time),
            }
            for time in chosen
        ]

    def funding_info(self, call: Call) -> Json:
        """GET fundingInfo."""
        del call
        hours = self._exchange.engine.state.rules.funding_interval_ms // 3_600_000
        return [
            {
                "symbol": symbol,
                "adjustedFundingRateCap": "0.02",
                "adjustedFundingRateFloor": "-0.02",
                "fundingIntervalHours": hours,
                "disclaimer": False,
            }
            for symbol in sorted(self._exchange.engine.state.symbols)
        ]

    def depth(self, call: Call) -> Json:
        """GET depth: the book around the last price, at most 50 levels."""
        return self._books.rest(self._symbol(call), call.limit(500, 1000))

    def _symbol(self, call: Call) -> str:
        symbol = call.text("symbol")
        self._exchange.engine.rules_of(symbol)
        return symbol

    def _each(self, call: Call, make: Callable[[str], dict[str, Any]]) -> Json:
        if "symbol" in call.parameters:
            return make(self._symbol(call))
        return [made for symbol in self._quotes.trading() if (made := make(symbol))]

    def _book_ticker(self, symbol: str) -> dict[str, Any]:
        quote = self._quotes.of(symbol)
        return {
            "symbol": symbol,
            "bidPrice": number(quote.bid),
            "bidQty": number(quote.size),
            "askPrice": number(quote.ask),
            "askQty": number(quote.size),
            "time": self._exchange.time,
        }

    def _price(self, symbol: str) -> dict[str, Any]:
        mark = self._quotes.of(symbol).mark
        return {"symbol": symbol, "price": number(mark), "time": self._exchange.time}

    def _premium(self, symbol: str) -> dict[str, Any]:
        mark = number(self._quotes.of(symbol).mark)
        return {
            "symbol": symbol,
            "markPrice": mark,
            "indexPrice": mark,
            "estimatedSettlePrice": mark,
            "lastFundingRate": number(self._quotes.funding_rate(symbol)),
            "interestRate": "0.00010000",
            "nextFundingTime": self._quotes.next_funding(),
            "time": self._exchange.time,
        }

    def _price_at(self, symbol: str, time: int) -> str:
        candle = self._exchange.market.candle(symbol, time)
        return number(candle.open) if candle else ""

    def _symbol_info(self, symbol: str, rules: SymbolRules) -> dict[str, Any]:
        if not symbol.endswith(ASSET):
            raise invalid_symbol()
        filters = rules.filters
        tick, step = number(filters.tick_size), number(filters.step_size)
        trading = symbol in self._exchange.engine.state.marks
        return {
            "symbol": symbol,
            "pair": symbol,
            "contractType": "PERPETUAL",
            "deliveryDate": _PERPETUAL_DELIVERY,
            "onboardDate": self._exchange.market.history_from(symbol),
            "status": "TRADING" if trading else "PENDING_TRADING",
            "baseAsset": symbol.removesuffix(ASSET),
            "quoteAsset": ASSET,
            "marginAsset": ASSET,
            "pricePrecision": _decimals(tick),
            "quantityPrecision": _decimals(step),
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "underlyingSubType": [],
            "triggerProtect": "0.0500",
            "liquidationFee": "0.012500",
            "marketTakeBound": "0.05",
            "maintMarginPercent": "2.5000",
            "requiredMarginPercent": "5.0000",
            "orderTypes": _ORDER_TYPES,
            "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": tick,
                    "maxPrice": "100000000",
                    "tickSize": tick,
                },
                _lot_size("LOT_SIZE", rules, number(filters.max_quantity)),
                _lot_size("MARKET_LOT_SIZE", rules, number(filters.market_max_quantity)),
                {"filterType": "MAX_NUM_ORDERS", "limit": 200},
                {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 200},
                {"filterType": "MIN_NOTIONAL", "notional": number(filters.min_notional)},
                {
                    "filterType": "PERCENT_PRICE",
                    "multiplierUp": "1.0500",
                    "multiplierDown": "0.9500",
                    "multiplierDecimal": "4",
                },
            ],
        }


def _lot_size(name: str, rules: SymbolRules, largest: str) -> dict[str, str]:
    return {
        "filterType": name,
        "minQty": number(rules.filters.min_quantity),
        "maxQty": largest,
        "stepSize": number(rules.filters.step_size),
    }


def _rate_limit(kind: str, interval: str, count: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def _kline_weight(call: Call) -> int:
    limit = call.limit(500, 1500)
    return next((weight for below, weight in _SMALL_LIMITS if limit <= below), 10)


def _depth_weight(call: Call) -> int:
    limit = call.limit(500, 1000)
    return next((weight for most, weight in _DEPTH_LIMITS if limit <= most), 20)


def _one_or(one: int, every: int) -> Callable[[Call], int]:
    return lambda call: one if "symbol" in call.parameters else every
