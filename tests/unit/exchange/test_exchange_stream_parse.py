"""Socket events of Binance's shape become exact values, fills before their order's report."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.exec_risk.core.exchange_events import (
    FillReport,
    OrderReport,
    WalletReport,
)
from services.exec_risk.exchange.stream_parse import (
    FundingSettled,
    PriceBoard,
    closed_candle,
    user_events,
)
from services.trade.order import OrderState, Side


def trade_update(**changes: Any) -> dict[str, Any]:
    order = {
        "s": "BTCUSDT", "c": "qte0-abc", "S": "BUY", "o": "MARKET", "f": "GTC", "q": "0.010",
        "p": "0", "ap": "93000.50", "sp": "0", "x": "TRADE", "X": "FILLED", "i": 8886774,
        "l": "0.010", "z": "0.010", "L": "93000.50", "n": "0.37200200", "N": "USDT",
        "T": 1568879465650, "t": 1234, "m": False, "R": False, "wt": "CONTRACT_PRICE",
        "ot": "MARKET", "ps": "BOTH", "cp": False, "rp": "0",
    } | changes  # fmt: skip
    return {"e": "ORDER_TRADE_UPDATE", "E": 1568879465651, "T": 1568879465650, "o": order}


def algo_update(**changes: Any) -> dict[str, Any]:
    order = {
        "caid": "qts0-abc", "aid": 2148719, "at": "CONDITIONAL", "o": "STOP_MARKET",
        "s": "BTCUSDT", "S": "SELL", "ps": "BOTH", "f": "GTC", "q": "0.01", "X": "NEW", "ai": "",
        "ap": "0.00", "aq": "0.00", "act": "0", "tp": "93000", "p": "0", "V": "EXPIRE_MAKER",
        "wt": "MARK_PRICE", "pm": "NONE", "cp": False, "pP": False, "R": True, "tt": 0, "gtd": 0,
        "rm": "",
    } | changes  # fmt: skip
    return {"e": "ALGO_UPDATE", "E": 1750515742303, "T": 1750515742297, "o": order}


def test_fill_comes_before_the_report_of_its_order() -> None:
    fill, report = user_events(trade_update(), "main", "USDT")
    assert isinstance(fill, FillReport)
    assert fill.fill.price == Decimal("93000.50")
    assert fill.fill.commission == Decimal("0.37200200")
    assert fill.fill.trade_id == "1234"
    assert isinstance(report, OrderReport)
    assert report.state is OrderState.FILLED
    assert report.average_price == Decimal("93000.50")


def test_new_order_is_no_fill() -> None:
    """Incident 22: NEW carries no fill and no price."""
    raw = trade_update(x="NEW", X="NEW", l="0", z="0", L="0", ap="0", t=0)
    (report,) = user_events(raw, "main", "USDT")
    assert isinstance(report, OrderReport)
    assert (report.state, report.average_price) == (OrderState.ACCEPTED, None)


def test_liquidation_is_a_fill_too() -> None:
    raw = trade_update(x="CALCULATED", c="autoclose-1", rp="-12.5")
    fill, _ = user_events(raw, "main", "USDT")
    assert isinstance(fill, FillReport)
    assert fill.fill.realized_pnl == Decimal("-12.5")


def test_child_of_a_stop_is_told_as_conditional() -> None:
    raw = trade_update(c="qts0-abc", S="SELL", ot="STOP_MARKET", R=True, sp="92990")
    _, report = user_events(raw, "main", "USDT")
    assert isinstance(report, OrderReport)
    assert report.conditional
    assert report.reduce_only
    assert report.trigger_price == Decimal(92990)


def test_commission_in_another_asset_is_refused() -> None:
    with pytest.raises(ValueError, match="BNB"):
        user_events(trade_update(N="BNB"), "main", "USDT")


@pytest.mark.parametrize(
    ("status", "filled", "state"),
    [
        ("NEW", "0", OrderState.ACCEPTED),
        ("TRIGGERING", "0", OrderState.ACCEPTED),
        ("TRIGGERED", "0", OrderState.ACCEPTED),
        ("FINISHED", "0.01", OrderState.FILLED),
        ("FINISHED", "0", OrderState.EXPIRED),
        ("CANCELED", "0", OrderState.CANCELED),
        ("EXPIRED", "0", OrderState.EXPIRED),
        ("REJECTED", "0", OrderState.REJECTED),
    ],
)
def test_life_of_a_conditional_order(status: str, filled: str, state: OrderState) -> None:
    raw = algo_update(X=status, aq=filled, ap="92990" if filled != "0" else "0", rm="why")
    (report,) = user_events(raw, "main", "USDT")
    assert isinstance(report, OrderReport)
    assert report.state is state
    assert report.client_order_id == "qts0-abc"
    assert report.side is Side.SELL
    assert report.reason == "why"


def test_wallet_and_funding() -> None:
    raw: dict[str, Any] = {
        "e": "ACCOUNT_UPDATE",
        "E": 1564745798939,
        "T": 1564745798938,
        "a": {
            "m": "FUNDING_FEE",
            "B": [
                {"a": "USDT", "wb": "122624.12345678", "cw": "100.1", "bc": "-0.5"},
                {"a": "BUSD", "wb": "1", "cw": "0", "bc": "0"},
            ],
        },
    }
    assert user_events(raw, "main", "USDT") == [
        FundingSettled(1564745798938),
        WalletReport(Decimal("122624.12345678"), 1564745798938, "FUNDING_FEE"),
    ]
    raw["a"]["m"] = "ORDER"
    assert user_events(raw, "main", "USDT") == [
        WalletReport(Decimal("122624.12345678"), 1564745798938, "ORDER")
    ]


def test_other_events_are_nothing() -> None:
    assert user_events({"e": "TRADE_LITE"}, "main", "USDT") == []


def kline(closed: bool) -> dict[str, Any]:
    return {
        "e": "kline", "E": 1, "s": "BTCUSDT",
        "k": {"t": 120_000, "T": 179_999, "s": "BTCUSDT", "i": "1m", "o": "0.0010", "c": "0.0020",
              "h": "0.0025", "l": "0.0010", "v": "1000.10", "x": closed},
    }  # fmt: skip


def test_only_closed_candles_and_to_the_last_digit() -> None:
    assert closed_candle(kline(False), "paper") is None
    candle = closed_candle(kline(True), "paper")
    assert candle is not None
    assert str(candle.open) == "0.0010"
    assert str(candle.volume) == "1000.10"
    assert candle.close_time == 180_000


def test_prices_come_once_a_second_of_market_time() -> None:
    board = PriceBoard()
    board.book({"e": "bookTicker", "s": "BTCUSDT", "b": "1.0", "a": "1.2", "B": "1", "A": "1"})
    mark = {"e": "markPriceUpdate", "s": "BTCUSDT", "p": "1.1", "r": "0.0001"}
    first = board.mark({**mark, "E": 5_000})
    assert first is not None
    assert (first.bid, first.ask, first.mark) == (Decimal("1.0"), Decimal("1.2"), Decimal("1.1"))
    assert first.funding_rate == Decimal("0.0001")
    assert board.mark({**mark, "E": 5_999}) is None
    assert board.mark({**mark, "E": 6_000}) is not None
