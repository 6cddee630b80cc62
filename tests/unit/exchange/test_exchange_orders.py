"""Orders become the parameters that Binance takes; answers become outcomes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import ccxt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.core.exchange_events import Accepted, Refused, Unknown
from services.exec_risk.exchange.errors import is_authentication
from services.exec_risk.exchange.orders import place_params, placed, plain, reported
from services.exec_risk.exchange.settings import ExchangeSettings
from services.trade.order import (
    Order,
    OrderPurpose,
    OrderState,
    OrderType,
    Side,
    TimeInForce,
)

ENTRY = Order(
    client_order_id="qte0-abc",
    account="main",
    symbol="BTCUSDT",
    side=Side.BUY,
    type=OrderType.MARKET,
    purpose=OrderPurpose.ENTRY,
    quantity=Decimal("0.010"),
    decided_time=60_000,
)
STOP = replace(
    ENTRY,
    client_order_id="qts0-abc",
    side=Side.SELL,
    type=OrderType.STOP_MARKET,
    purpose=OrderPurpose.STOP_LOSS,
    trigger_price=Decimal("92999.90"),
)


def test_entry() -> None:
    assert place_params(ENTRY) == {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "MARKET",
        "quantity": "0.01",
        "newClientOrderId": "qte0-abc",
        "newOrderRespType": "RESULT",
    }


def test_stop_reduces_only_and_goes_by_the_mark_price() -> None:
    assert place_params(STOP) == {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "STOP_MARKET",
        "quantity": "0.01",
        "reduceOnly": "true",
        "algoType": "CONDITIONAL",
        "clientAlgoId": "qts0-abc",
        "triggerPrice": "92999.9",
        "workingType": "MARK_PRICE",
    }


@pytest.mark.parametrize("purpose", list(OrderPurpose))
@pytest.mark.parametrize("side", list(Side))
def test_one_way_mode_matrix(purpose: OrderPurpose, side: Side) -> None:
    """Incident 32: no order names a position side; whatever is not an entry only reduces."""
    params = place_params(replace(ENTRY, purpose=purpose, side=side))
    assert "positionSide" not in params
    assert params.get("reduceOnly") == (None if purpose is OrderPurpose.ENTRY else "true")


@pytest.mark.parametrize("kind", [OrderType.MARKET, OrderType.STOP_MARKET])
@pytest.mark.parametrize(
    ("purpose", "side", "held"),
    [
        (OrderPurpose.EXIT, Side.SELL, "LONG"),
        (OrderPurpose.EXIT, Side.BUY, "SHORT"),
        (OrderPurpose.STOP_LOSS, Side.SELL, "LONG"),
        (OrderPurpose.TAKE_PROFIT, Side.BUY, "SHORT"),
        (OrderPurpose.ENTRY, Side.BUY, "LONG"),
        (OrderPurpose.ENTRY, Side.SELL, "SHORT"),
    ],
)
def test_hedge_mode_matrix(kind: OrderType, purpose: OrderPurpose, side: Side, held: str) -> None:
    """Incident 32: a SELL that closes a LONG names the LONG, or it would open a SHORT."""
    order = replace(ENTRY, type=kind, purpose=purpose, side=side, trigger_price=Decimal(9))
    params = place_params(order, hedge=True)
    assert params["positionSide"] == held
    assert "reduceOnly" not in params


@pytest.mark.parametrize("kept", list(TimeInForce))
def test_limit_says_how_long_it_may_rest(kept: TimeInForce) -> None:
    limit = replace(ENTRY, type=OrderType.LIMIT, price=Decimal(100), time_in_force=kept)
    assert place_params(limit)["timeInForce"] == kept.value


@pytest.mark.parametrize("status", ["EXPIRED", "EXPIRED_IN_MATCH"])
def test_remainder_of_ioc_fok_and_post_only_is_a_final_report(status: str) -> None:
    """What the exchange ends itself was accepted first: its fills count, the rest is over."""
    outcome = placed(ENTRY, answer(status=status, executedQty="0.004", avgPrice="100"))
    assert isinstance(outcome, Accepted)
    assert outcome.report.state is OrderState.EXPIRED
    assert outcome.report.state.final
    assert outcome.report.filled_quantity == Decimal("0.004")


def test_limit_needs_a_price() -> None:
    limit = replace(ENTRY, type=OrderType.LIMIT)
    with pytest.raises(ValueError, match="qte0-abc"):
        place_params(limit)
    params = place_params(replace(limit, price=Decimal("1E+2")))
    assert (params["price"], params["timeInForce"]) == ("100", "GTC")


@given(st.decimals(min_value=0, max_value=10**12, places=8, allow_nan=False))
def test_decimals_are_written_without_loss(number: Decimal) -> None:
    text = plain(number)
    assert Decimal(text) == number
    assert "E" not in text


def answer(**changes: object) -> dict[str, object]:
    return {
        "orderId": 5, "clientOrderId": "qte0-abc", "symbol": "BTCUSDT", "side": "BUY",
        "status": "NEW", "origQty": "0.010", "executedQty": "0", "type": "MARKET",
    } | changes  # fmt: skip


def test_only_an_answer_with_an_id_is_an_acceptance() -> None:
    assert isinstance(placed(ENTRY, answer()), Accepted)
    assert isinstance(placed(ENTRY, {}), Unknown)
    assert isinstance(placed(ENTRY, answer(orderId=None)), Unknown)
    assert isinstance(placed(ENTRY, answer(origQty="x")), Unknown)
    assert isinstance(placed(ENTRY, answer(clientOrderId="another")), Unknown)
    refused = Refused("-2019", "Margin is insufficient.")
    assert placed(ENTRY, refused) is refused


def test_cancel_of_a_conditional_order_is_taken_but_not_yet_its_end() -> None:
    told = {"algoId": 7, "clientAlgoId": "qts0-abc", "code": "200", "msg": "success"}
    outcome = placed(STOP, told, canceled=True)
    assert isinstance(outcome, Accepted)
    assert outcome.report.state is OrderState.ACCEPTED
    assert isinstance(placed(STOP, {**told, "code": "-1"}, canceled=True), Unknown)


def test_fills_of_a_triggered_order_come_from_its_child() -> None:
    algo = {
        "algoId": 7, "clientAlgoId": "qts0-abc", "symbol": "BTCUSDT", "side": "SELL",
        "quantity": "0.01", "algoStatus": "TRIGGERED", "triggerPrice": "92999.9",
    }  # fmt: skip
    child = answer(
        clientOrderId="qts0-abc", side="SELL", status="FILLED", executedQty="0.010",
        avgPrice="92998", origType="STOP_MARKET",
    )  # fmt: skip
    report = reported(algo, child)
    assert report is not None
    assert (report.state, report.average_price) == (OrderState.FILLED, Decimal(92998))
    assert report.trigger_price == Decimal("92999.9")
    waiting = reported(algo, None)
    assert waiting is not None
    assert waiting.state is OrderState.ACCEPTED
    assert reported(None, None) is None


def test_rejected_key_is_seen_behind_a_wrong_exception() -> None:
    """Incident 49: ccxt calls -2015 a DDoSProtection once the key has worked."""
    assert is_authentication(ccxt.DDoSProtection('x {"code":-2015,"msg":"Invalid API-key"}'))
    assert not is_authentication(ccxt.PermissionDenied('x {"code":-4192,"msg":"cooling off"}'))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"venue": "testnet"}, "venue"),
        ({"url": ""}, "url"),
        ({"url": "https://fapi.binance.com"}, "url"),
        ({"venue": "live"}, "url"),
        ({"api_key": ""}, "api_key"),
        ({"timeframe": "1x"}, "timeframe"),
        ({"recv_window_ms": 0}, "recv_window_ms"),
        ({"exit_share_percent": 100}, "exit_share_percent"),
    ],
)
def test_contradictory_settings_are_refused_by_name(changes: dict[str, object], named: str) -> None:
    """Incident 42: one switch; an address that contradicts it stops the start."""
    valid: dict[str, object] = {
        "venue": "paper", "timeframe": "1m", "url": "http://127.0.0.1:1",
        "api_key": "k", "api_secret": "s",
    }  # fmt: skip
    ExchangeSettings(**valid)  # type: ignore[arg-type] # the values are valid ones
    with pytest.raises(ValueError, match=named):
        ExchangeSettings(**{**valid, **changes})  # type: ignore[arg-type] # wrong on purpose
