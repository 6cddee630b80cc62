"""Binance's socket events into values. Pure; ValueError where an event makes no sense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.exec_risk.core.exchange_events import (
    ExchangeEvent,
    FillReport,
    OrderReport,
    PriceReport,
    WalletReport,
)
from services.exec_risk.exchange.parse import (
    CONDITIONAL_TYPES,
    algo_state,
    decimal,
    order_state,
    positive,
    text,
)
from services.trade.candle import Candle
from services.trade.order import Fill, Side

Raw = Mapping[str, Any]
PRICE_INTERVAL_MS = 1_000


@dataclass(frozen=True, slots=True)
class FundingSettled:
    """Funding was settled at `time`; the event names no symbol, so income must be read."""

    time: int


def user_events(raw: Raw, account: str, quote_asset: str) -> list[ExchangeEvent | FundingSettled]:
    """Parse one event of the user stream.

    A fill comes before the report of its order, so that who is told FILLED has had every fill.
    """
    kind = raw.get("e")
    if kind == "ORDER_TRADE_UPDATE":
        return _order_update(raw, account, quote_asset)
    if kind == "ALGO_UPDATE":
        return [_algo_update(raw)]
    if kind == "ACCOUNT_UPDATE":
        return _account_update(raw, quote_asset)
    return []


def closed_candle(raw: Raw, venue: str) -> Candle | None:
    """Parse a kline event; None while its bar is still open."""
    k = raw["k"]
    if k.get("x") is not True:
        return None
    return Candle(
        venue=venue,
        symbol=text(k, "s"),
        timeframe=text(k, "i"),
        open_time=int(text(k, "t")),
        open=decimal(k, "o"),
        high=decimal(k, "h"),
        low=decimal(k, "l"),
        close=decimal(k, "c"),
        volume=decimal(k, "v"),
    )


class PriceBoard:
    """Last prices, told at most once a second of market time for each symbol."""

    def __init__(self) -> None:
        self._books: dict[str, tuple[Decimal, Decimal]] = {}
        self._told: dict[str, int] = {}

    def book(self, raw: Raw) -> None:
        """Remember a bookTicker event's best bid and ask."""
        self._books[text(raw, "s")] = (decimal(raw, "b"), decimal(raw, "a"))

    def mark(self, raw: Raw) -> PriceReport | None:
        """Return what a markPriceUpdate event tells; None when it comes too soon."""
        symbol = text(raw, "s")
        bid, ask = self._books.get(symbol, (None, None))
        rate, next_time = raw.get("r"), raw.get("T")
        report = PriceReport(
            symbol=symbol,
            time=int(text(raw, "E")),
            mark=decimal(raw, "p"),
            bid=bid,
            ask=ask,
            funding_rate=Decimal(str(rate)) if rate not in (None, "") else None,
            next_funding_time=int(next_time) if next_time else None,
        )
        return report if self.due(report) else None

    def due(self, report: PriceReport) -> bool:
        """Return True, and note it as told, unless the symbol was told less than 1 s before."""
        if report.time - self._told.get(report.symbol, -PRICE_INTERVAL_MS) < PRICE_INTERVAL_MS:
            return False
        self._told[report.symbol] = report.time
        return True


def _order_update(raw: Raw, account: str, quote_asset: str) -> list[ExchangeEvent | FundingSettled]:
    o = raw["o"]
    filled = decimal(o, "z", "0")
    time = int(o.get("T") or raw.get("T") or raw["E"])
    report = OrderReport(
        client_order_id=text(o, "c"),
        exchange_order_id=text(o, "i"),
        symbol=text(o, "s"),
        side=Side(text(o, "S")),
        state=order_state(text(o, "X"), filled),
        quantity=decimal(o, "q"),
        filled_quantity=filled,
        average_price=positive(decimal(o, "ap", "0")) if filled > 0 else None,
        time=time,
        reduce_only=o.get("R") is True,
        conditional=str(o.get("ot")) in CONDITIONAL_TYPES,
        trigger_price=positive(decimal(o, "sp", "0")),
        reason=str(o.get("er") or "") if o.get("x") == "EXPIRED" else "",
    )
    executed = decimal(o, "l", "0")
    if o.get("x") not in ("TRADE", "CALCULATED") or executed <= 0:
        return [report]
    asset = o.get("N") or quote_asset
    commission = decimal(o, "n", "0")
    if commission and asset != quote_asset:
        raise ValueError(f"commission of trade {o.get('t')} is in {asset}, not in {quote_asset}")
    executed_fill = Fill(
        trade_id=text(o, "t"),
        account=account,
        symbol=report.symbol,
        client_order_id=report.client_order_id,
        side=report.side,
        price=decimal(o, "L"),
        quantity=executed,
        commission=commission,
        realized_pnl=decimal(o, "rp", "0"),
        maker=o.get("m") is True,
        time=time,
        exchange_order_id=report.exchange_order_id,
    )
    return [FillReport(executed_fill), report]


def _algo_update(raw: Raw) -> OrderReport:
    o = raw["o"]
    filled, quantity = decimal(o, "aq", "0"), decimal(o, "q", "0")
    return OrderReport(
        client_order_id=text(o, "caid"),
        exchange_order_id=text(o, "aid"),
        symbol=text(o, "s"),
        side=Side(text(o, "S")),
        state=algo_state(text(o, "X"), filled, quantity),
        quantity=quantity,
        filled_quantity=filled,
        average_price=positive(decimal(o, "ap", "0")) if filled > 0 else None,
        time=int(raw.get("T") or raw["E"]),
        reduce_only=o.get("R") is True or o.get("cp") is True,
        conditional=True,
        trigger_price=positive(decimal(o, "tp", "0")),
        reason=str(o.get("rm") or ""),
    )


def _account_update(raw: Raw, quote_asset: str) -> list[ExchangeEvent | FundingSettled]:
    change = raw["a"]
    time, cause = int(raw.get("T") or raw["E"]), str(change.get("m") or "")
    events: list[ExchangeEvent | FundingSettled] = []
    if cause == "FUNDING_FEE":
        events.append(FundingSettled(time))
    for balance in change.get("B", ()):
        if balance.get("a") == quote_asset:
            events.append(WalletReport(decimal(balance, "wb"), time, cause))
    return events
