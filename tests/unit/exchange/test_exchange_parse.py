"""REST answers of Binance's shape become exact values; odd ones are refused by name."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.exchange import parse
from services.trade.order import OrderState, Side

ORDER: dict[str, Any] = {
    "orderId": 22542179,
    "symbol": "BTCUSDT",
    "status": "NEW",
    "clientOrderId": "qte0-abc",
    "price": "0.00",
    "avgPrice": "0.00000",
    "origQty": "0.010",
    "executedQty": "0.000",
    "cumQuote": "0",
    "timeInForce": "GTC",
    "type": "MARKET",
    "reduceOnly": False,
    "side": "BUY",
    "positionSide": "BOTH",
    "stopPrice": "0",
    "origType": "MARKET",
    "updateTime": 1566818724722,
}
ALGO: dict[str, Any] = {
    "algoId": 2146760,
    "clientAlgoId": "qts0-abc",
    "algoType": "CONDITIONAL",
    "orderType": "STOP_MARKET",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "quantity": "0.01",
    "algoStatus": "NEW",
    "triggerPrice": "93000.10",
    "price": "0.00",
    "reduceOnly": True,
    "createTime": 1750485492076,
    "updateTime": 1750485492076,
    "actualOrderId": "",
}


BRACKETS: list[dict[str, Any]] = [
    {
        "symbol": "BTCUSDT",
        "brackets": [
            {
                "bracket": 2, "initialLeverage": 100, "notionalCap": 250000,
                "notionalFloor": 50000, "maintMarginRatio": 0.005, "cum": 50.0,
            },
            {
                "bracket": 1, "initialLeverage": 125, "notionalCap": 50000,
                "notionalFloor": 0, "maintMarginRatio": 0.004, "cum": 0.0,
            },
        ],
    },
    {"symbol": "NONEUSDT", "brackets": []},
]  # fmt: skip
TIERS = parse.leverage_tiers(BRACKETS)["BTCUSDT"]


def exchange_symbol(symbol: str = "BTCUSDT") -> dict[str, Any]:
    return {
        "symbol": symbol,
        "status": "TRADING",
        "contractType": "PERPETUAL",
        "quoteAsset": "USDT",
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10", "minPrice": "1", "maxPrice": "9"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
            {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.001", "minQty": "1", "maxQty": "120"},
            {"filterType": "MIN_NOTIONAL", "notional": "100"},
        ],
    }


def test_market_order_that_waits_is_accepted_and_unfilled() -> None:
    """Incident 22: NEW with avgPrice 0 is not a fill."""
    report = parse.order_report(ORDER)
    assert report.state is OrderState.ACCEPTED
    assert (report.filled_quantity, report.average_price) == (Decimal(0), None)
    assert (report.side, report.quantity, report.time) == (
        Side.BUY,
        Decimal("0.010"),
        1566818724722,
    )


def test_filled_without_quantity_is_unknown() -> None:
    """Incident 23: zero fill is never converted to a fill."""
    report = parse.order_report({**ORDER, "status": "FILLED"})
    assert report.state is OrderState.UNKNOWN
    assert report.filled_quantity == 0


@given(
    status=st.sampled_from(["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED", "odd"]),
    filled=st.decimals(min_value=0, max_value=1000, places=3),
)
def test_never_filled_with_nothing(status: str, filled: Decimal) -> None:
    """Incident 22 and 23: FILLED is only said with a quantity."""
    state = parse.order_state(status, filled)
    assert state is not OrderState.FILLED or filled > 0


def test_unknown_status_is_unknown() -> None:
    assert parse.order_state("SOMETHING_NEW", Decimal(1)) is OrderState.UNKNOWN


def test_conditional_order() -> None:
    report = parse.algo_report(ALGO)
    assert report.conditional
    assert report.reduce_only
    assert report.trigger_price == Decimal("93000.10")
    assert report.state is OrderState.ACCEPTED
    assert not parse.triggered(ALGO)
    assert parse.triggered({**ALGO, "actualOrderId": "77"})


@pytest.mark.parametrize(
    ("filled", "state"), [("0.01", "FILLED"), ("0.004", "EXPIRED"), ("0", "EXPIRED")]
)
def test_finished_conditional_order_is_filled_only_when_all_of_it_is(
    filled: str, state: str
) -> None:
    assert parse.algo_state("FINISHED", Decimal(filled), Decimal("0.01")).value == state


def test_filters_of_a_symbol() -> None:
    """Incident 38: tick and step each from its own filter."""
    filters = parse.symbol_filters(exchange_symbol(), TIERS)
    assert filters.tick_size == Decimal("0.10")
    assert filters.step_size == Decimal("0.001")
    assert filters.market_max_quantity == Decimal(120)
    assert filters.min_notional == Decimal(100)
    assert filters.max_leverage == 125


def test_leverage_tiers_by_notional() -> None:
    """What a position must hold depends on its size: rules need it for the liquidation price."""
    filters = parse.symbol_filters(exchange_symbol(), TIERS)
    small, large = filters.tier(Decimal(49_999)), filters.tier(Decimal(50_000))
    assert small is not None
    assert large is not None
    assert (small.max_leverage, small.maintenance_rate) == (125, Decimal("0.004"))
    assert (large.max_leverage, large.maintenance_amount) == (100, Decimal("50.0"))
    # continuous: both tiers ask for the same margin where they meet
    edge = Decimal(50_000)
    assert edge * small.maintenance_rate == edge * large.maintenance_rate - large.maintenance_amount
    assert filters.tier(Decimal(250_000)) is None
    assert list(parse.leverage_tiers(BRACKETS)) == ["BTCUSDT"]


def test_symbol_without_brackets_gets_the_leverage_of_a_new_account() -> None:
    filters = parse.symbol_filters(exchange_symbol(), ())
    assert (filters.max_leverage, filters.tiers) == (20, ())
    assert filters.tier(Decimal(1)) is None


@pytest.mark.parametrize("symbol", ["币安人生USDT", "btcusdt", "BTC-USDT", ""])
def test_odd_symbol_is_named(symbol: str) -> None:
    """Incident 54: an odd symbol raises alone, so that its reader can leave it out."""
    with pytest.raises(ValueError, match="symbol"):
        parse.symbol_filters(exchange_symbol(symbol), TIERS)


def test_symbol_without_a_filter_is_named() -> None:
    raw = exchange_symbol()
    raw["filters"] = raw["filters"][:1]
    with pytest.raises(ValueError, match="LOT_SIZE"):
        parse.symbol_filters(raw, TIERS)


def test_account_counts_wallet_without_open_profit() -> None:
    account = {
        "assets": [
            {"asset": "BNB", "walletBalance": "1", "availableBalance": "1", "updateTime": 1},
            {
                "asset": "USDT",
                "walletBalance": "23.72469206",
                "availableBalance": "20.5",
                "marginBalance": "30",
                "updateTime": 1625474304765,
            },
        ]
    }
    positions: list[dict[str, Any]] = [
        {"symbol": "ETHUSDT", "positionAmt": "0.000", "entryPrice": "0", "markPrice": "1"},
        {
            "symbol": "BTCUSDT",
            "positionAmt": "-0.010",
            "entryPrice": "93000.5",
            "markPrice": "93001",
            "unRealizedProfit": "-0.005",
            "updateTime": 1625474304766,
        },
    ]
    report = parse.account_report(account, positions, "USDT", 5)
    assert report.wallet_balance == Decimal("23.72469206")
    assert report.time == 1625474304766
    assert [(p.symbol, p.quantity) for p in report.positions] == [("BTCUSDT", Decimal("-0.010"))]
    with pytest.raises(ValueError, match="USDC"):
        parse.account_report(account, positions, "USDC", 5)


def test_fill_with_a_foreign_commission_is_refused() -> None:
    raw = {
        "id": 698759,
        "orderId": 25851813,
        "symbol": "BTCUSDT",
        "side": "SELL",
        "price": "7819.01",
        "qty": "0.002",
        "realizedPnl": "-0.91539999",
        "commission": "0.07819010",
        "commissionAsset": "USDT",
        "time": 1569514978020,
        "maker": False,
    }
    fill = parse.fill(raw, "main", "qte0-x", "USDT")
    assert (fill.commission, fill.realized_pnl) == (Decimal("0.07819010"), Decimal("-0.91539999"))
    with pytest.raises(ValueError, match="698759"):
        parse.fill({**raw, "commissionAsset": "BNB"}, "main", "qte0-x", "USDT")


def test_numbers_that_are_none_are_refused_by_name() -> None:
    for value in (None, "", "abc", "NaN", "Infinity"):
        with pytest.raises(ValueError, match="origQty"):
            parse.order_report({**ORDER, "origQty": value})
