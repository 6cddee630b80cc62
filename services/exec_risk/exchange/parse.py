"""Binance's REST answers into values. Pure; ValueError where an answer makes no sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from services.exec_risk.core.exchange_events import (
    AccountReport,
    ExchangePosition,
    FundingReport,
    OrderReport,
)
from services.trade.candle import Candle
from services.trade.filters import LeverageTier, SymbolFilters
from services.trade.order import Fill, OrderState, OrderType, Side

Raw = Mapping[str, Any]

_STATES = {
    "NEW": OrderState.ACCEPTED,
    "PENDING_NEW": OrderState.ACCEPTED,
    "PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED,
    "FILLED": OrderState.FILLED,
    "CANCELED": OrderState.CANCELED,
    "PENDING_CANCEL": OrderState.ACCEPTED,
    "REJECTED": OrderState.REJECTED,
    "EXPIRED": OrderState.EXPIRED,
    "EXPIRED_IN_MATCH": OrderState.EXPIRED,
    "NEW_INSURANCE": OrderState.ACCEPTED,
    "NEW_ADL": OrderState.ACCEPTED,
}
_ALGO_STATES = {
    "NEW": OrderState.ACCEPTED,
    "TRIGGERING": OrderState.ACCEPTED,
    "TRIGGERED": OrderState.ACCEPTED,
    "CANCELED": OrderState.CANCELED,
    "REJECTED": OrderState.REJECTED,
    "EXPIRED": OrderState.EXPIRED,
}
UNKNOWN_MAX_LEVERAGE = 20
"""What a symbol without brackets is taken for: Binance's leverage of a new account."""
CONDITIONAL_TYPES = frozenset(
    {"STOP", "TAKE_PROFIT", "TRAILING_STOP_MARKET"}
    | {kind.value for kind in OrderType if kind.conditional}
)


def decimal(raw: Raw, key: str, default: str | None = None) -> Decimal:
    """Return a number of an answer; ValueError names the key when it is missing or not one."""
    value = raw.get(key, default)
    if value is None or value == "":
        raise ValueError(f"{key} is missing in {dict(raw)}")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{key} is {value!r}, not a number") from None
    if not number.is_finite():
        raise ValueError(f"{key} is {value!r}, not a finite number")
    return number


def text(raw: Raw, key: str) -> str:
    """Return a text of an answer; ValueError when it is missing."""
    value = raw.get(key)
    if value is None or value == "":
        raise ValueError(f"{key} is missing in {dict(raw)}")
    return str(value)


def positive(value: Decimal) -> Decimal | None:
    """Return the value, or None for Binance's `0`, which means that there is none."""
    return value if value > 0 else None


def order_state(status: str, filled: Decimal) -> OrderState:
    """Return the state of an order. FILLED without a filled quantity is not known (incident 23).

    An unknown status is UNKNOWN too: the shell then asks again instead of guessing.
    """
    state = _STATES.get(status, OrderState.UNKNOWN)
    return OrderState.UNKNOWN if state is OrderState.FILLED and filled <= 0 else state


def algo_state(status: str, filled: Decimal, quantity: Decimal) -> OrderState:
    """Return the state of a conditional order; FINISHED means that its child is at its end."""
    if status != "FINISHED":
        return _ALGO_STATES.get(status, OrderState.UNKNOWN)
    return OrderState.FILLED if quantity > 0 and filled >= quantity else OrderState.EXPIRED


def order_report(raw: Raw) -> OrderReport:
    """Parse a plain order, or the child of a triggered one, as REST answers it."""
    filled = decimal(raw, "executedQty", "0")
    kind = str(raw.get("origType") or raw.get("type") or "")
    return OrderReport(
        client_order_id=text(raw, "clientOrderId"),
        exchange_order_id=text(raw, "orderId"),
        symbol=text(raw, "symbol"),
        side=Side(text(raw, "side")),
        state=order_state(text(raw, "status"), filled),
        quantity=decimal(raw, "origQty"),
        filled_quantity=filled,
        average_price=_average(raw, "avgPrice", filled),
        time=int(raw.get("updateTime") or raw.get("time") or 0),
        reduce_only=_flag(raw, "reduceOnly"),
        conditional=kind in CONDITIONAL_TYPES,
        trigger_price=positive(decimal(raw, "stopPrice", "0")),
    )


def algo_report(raw: Raw) -> OrderReport:
    """Parse a conditional order as REST answers it.

    Its child tells the fills; without `actualQty` a FINISHED one is therefore UNKNOWN here.
    """
    filled = decimal(raw, "actualQty", "0")
    quantity = decimal(raw, "quantity", "0")
    status = text(raw, "algoStatus")
    told = status != "FINISHED" or raw.get("actualQty") is not None
    return OrderReport(
        client_order_id=text(raw, "clientAlgoId"),
        exchange_order_id=text(raw, "algoId"),
        symbol=text(raw, "symbol"),
        side=Side(text(raw, "side")),
        state=algo_state(status, filled, quantity) if told else OrderState.UNKNOWN,
        quantity=quantity,
        filled_quantity=filled,
        average_price=_average(raw, "actualPrice", filled),
        time=int(raw.get("updateTime") or raw.get("createTime") or 0),
        reduce_only=_flag(raw, "reduceOnly") or _flag(raw, "closePosition"),
        conditional=True,
        trigger_price=positive(decimal(raw, "triggerPrice", "0")),
        reason=str(raw.get("rejectReason") or ""),
    )


def triggered(raw: Raw) -> bool:
    """Return True when a conditional order fired, so that a plain order carries its fills."""
    child = str(raw.get("actualOrderId") or "")
    return child not in ("", "0") or raw.get("algoStatus") in ("TRIGGERED", "FINISHED")


def fill(raw: Raw, account: str, client_order_id: str, asset: str) -> Fill:
    """Parse one entry of userTrades; ValueError when its commission is in another asset."""
    commission = decimal(raw, "commission", "0")
    if commission and str(raw.get("commissionAsset") or asset) != asset:
        raise ValueError(f"commission of trade {raw.get('id')} is not in {asset}")
    return Fill(
        trade_id=text(raw, "id"),
        account=account,
        symbol=text(raw, "symbol"),
        client_order_id=client_order_id,
        side=Side(text(raw, "side")),
        price=decimal(raw, "price"),
        quantity=decimal(raw, "qty"),
        commission=commission,
        realized_pnl=decimal(raw, "realizedPnl", "0"),
        maker=_flag(raw, "maker"),
        time=int(text(raw, "time")),
        exchange_order_id=text(raw, "orderId"),
    )


def funding(raw: Raw) -> FundingReport:
    """Parse one FUNDING_FEE entry of income."""
    return FundingReport(
        symbol=text(raw, "symbol"),
        amount=decimal(raw, "income"),
        time=int(text(raw, "time")),
        transaction_id=text(raw, "tranId"),
    )


def account_report(account: Raw, positions: Sequence[Raw], asset: str, now: int) -> AccountReport:
    """Parse v3 account and positionRisk; ValueError when the quote asset is missing."""
    found = next((a for a in account.get("assets", ()) if a.get("asset") == asset), None)
    if found is None:
        raise ValueError(f"the account holds no {asset}")
    held = tuple(sorted((_position(p) for p in positions if _held(p)), key=_side_of))
    times = [int(raw.get("updateTime") or 0) for raw in (found, *positions)]
    return AccountReport(
        wallet_balance=decimal(found, "walletBalance"),
        available_balance=decimal(found, "availableBalance"),
        time=max(now, *times),
        positions=held,
    )


def candle(row: Sequence[Any], venue: str, symbol: str, timeframe: str) -> Candle:
    """Parse one row of klines."""
    return Candle(
        venue=venue,
        symbol=symbol,
        timeframe=timeframe,
        open_time=int(row[0]),
        open=Decimal(str(row[1])),
        high=Decimal(str(row[2])),
        low=Decimal(str(row[3])),
        close=Decimal(str(row[4])),
        volume=Decimal(str(row[5])),
    )


def symbol_filters(raw: Raw, tiers: Sequence[LeverageTier]) -> SymbolFilters:
    """Parse one symbol of exchangeInfo; ValueError says what is odd about it."""
    symbol = text(raw, "symbol")
    if not (symbol.isascii() and symbol.isalnum() and symbol == symbol.upper()):
        raise ValueError(f"symbol {symbol!r} is not plain upper-case letters and digits")
    filters = {f.get("filterType"): f for f in raw.get("filters", ())}
    for name in ("PRICE_FILTER", "LOT_SIZE", "MIN_NOTIONAL"):
        if name not in filters:
            raise ValueError(f"{symbol}: filter {name} is missing")
    lot = filters["LOT_SIZE"]
    market = filters.get("MARKET_LOT_SIZE", lot)
    parsed = SymbolFilters(
        symbol=symbol,
        tick_size=decimal(filters["PRICE_FILTER"], "tickSize"),
        step_size=decimal(lot, "stepSize"),
        min_quantity=decimal(lot, "minQty"),
        max_quantity=decimal(lot, "maxQty"),
        market_max_quantity=decimal(market, "maxQty"),
        min_notional=decimal(filters["MIN_NOTIONAL"], "notional"),
        max_leverage=max((t.max_leverage for t in tiers), default=UNKNOWN_MAX_LEVERAGE),
        tiers=tuple(tiers),
    )
    if parsed.tick_size <= 0 or parsed.step_size <= 0 or parsed.max_quantity <= 0:
        raise ValueError(f"{symbol}: tick, step and largest quantity must be positive")
    return parsed


def tradable(raw: Raw, quote_asset: str) -> bool:
    """Return True for a perpetual of the quote asset that trades now."""
    return (
        raw.get("contractType") == "PERPETUAL"
        and raw.get("status") == "TRADING"
        and raw.get("quoteAsset") == quote_asset
    )


def leverage_tiers(brackets: Sequence[Raw]) -> dict[str, tuple[LeverageTier, ...]]:
    """Return the tiers of each symbol in leverageBracket, by notional."""
    found: dict[str, tuple[LeverageTier, ...]] = {}
    for entry in brackets:
        tiers = [
            LeverageTier(
                notional_floor=decimal(raw, "notionalFloor"),
                notional_cap=decimal(raw, "notionalCap"),
                max_leverage=int(raw["initialLeverage"]),
                maintenance_rate=decimal(raw, "maintMarginRatio"),
                maintenance_amount=decimal(raw, "cum", "0"),
            )
            for raw in entry.get("brackets", ())
        ]
        if entry.get("symbol") and tiers:
            found[str(entry["symbol"])] = tuple(sorted(tiers, key=lambda t: t.notional_floor))
    return found


def _average(raw: Raw, key: str, filled: Decimal) -> Decimal | None:
    return positive(decimal(raw, key, "0")) if filled > 0 else None


def _flag(raw: Raw, key: str) -> bool:
    return raw.get(key) in (True, "true")


def _side_of(position: ExchangePosition) -> tuple[str, str]:
    return position.symbol, position.position_side


def _held(raw: Raw) -> bool:
    return decimal(raw, "positionAmt", "0") != 0


def _position(raw: Raw) -> ExchangePosition:
    return ExchangePosition(
        symbol=text(raw, "symbol"),
        quantity=decimal(raw, "positionAmt"),
        entry_price=decimal(raw, "entryPrice"),
        mark_price=decimal(raw, "markPrice"),
        unrealized_pnl=decimal(raw, "unRealizedProfit", "0"),
        position_side=str(raw.get("positionSide") or "BOTH"),
    )
