"""What the exchange refuses, with Binance's own codes and words."""

from __future__ import annotations


class Rejection(Exception):
    """A refused request: nothing changed. `code` is Binance's error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


def mandatory(parameter: str) -> Rejection:
    """Name a parameter that is missing or cannot be read."""
    return Rejection(
        -1102,
        f"Mandatory parameter '{parameter}' was not sent, was empty/null, or malformed.",
    )


def invalid_parameter(parameter: str) -> Rejection:
    """Name a parameter whose value means nothing here."""
    return Rejection(-1130, f"Data sent for parameter '{parameter}' is not valid.")


def invalid_symbol() -> Rejection:
    """No such symbol."""
    return Rejection(-1121, "Invalid symbol.")


def symbol_closed() -> Rejection:
    """The symbol is known but does not trade yet."""
    return Rejection(-4141, "Symbol is closed.")


def precision() -> Rejection:
    """More decimals than the symbol has."""
    return Rejection(-1111, "Precision is over the maximum defined for this asset.")


def filter_failure(name: str) -> Rejection:
    """A value outside of one of the symbol's filters."""
    return Rejection(-1013, f"Filter failure: {name}")


def quantity_not_positive() -> Rejection:
    """Quantity of zero or less."""
    return Rejection(-4003, "Quantity less than or equal to zero.")


def tick_size() -> Rejection:
    """Price between two ticks."""
    return Rejection(-4014, "Price not increased by tick size.")


def min_notional(least: str) -> Rejection:
    """Order too small; reduce-only orders are exempt."""
    return Rejection(
        -4164, f"Order's notional must be no smaller than {least} (unless you choose reduce only)."
    )


def client_id_length() -> Rejection:
    """Client order id of more than 36 characters."""
    return Rejection(-4015, "Client order id length should not be more than 36 chars")


def client_id_duplicate() -> Rejection:
    """An open order has this client order id."""
    return Rejection(-4116, "ClientOrderId is duplicated.")


def would_trigger() -> Rejection:
    """A conditional order whose trigger price is passed already."""
    return Rejection(-2021, "Order would immediately trigger.")


def reduce_only() -> Rejection:
    """A reduce-only order without a position on the other side."""
    return Rejection(-2022, "ReduceOnly Order is rejected.")


def margin() -> Rejection:
    """Not enough available balance for the initial margin."""
    return Rejection(-2019, "Margin is insufficient.")


def over_bracket() -> Rejection:
    """The position would exceed what the leverage's bracket allows."""
    return Rejection(-2027, "Exceeded the maximum allowable position at current leverage.")


def post_only() -> Rejection:
    """A post-only order that would take."""
    return Rejection(
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected."
        " The order will not be recorded in the order history",
    )


def unknown_cancel() -> Rejection:
    """Nothing open to cancel under this id."""
    return Rejection(-2011, "Unknown order sent.")


def unknown_order() -> Rejection:
    """No order under this id."""
    return Rejection(-2013, "Order does not exist.")


def conditional_on_order() -> Rejection:
    """A conditional type sent to the endpoint of plain orders."""
    return Rejection(
        -4120,
        "Order type not supported for this endpoint. Please use the Algo Order API endpoints"
        " instead.",
    )


def order_type() -> Rejection:
    """An order type that does not exist here."""
    return Rejection(-1116, "Invalid orderType.")


def closing_kind(kind: str) -> Rejection:
    """closePosition with an order that does not end at the market."""
    return Rejection(-4136, f"Target strategy invalid for orderType {kind},closePosition true")


def callback_rate() -> Rejection:
    """Callback rate of a trailing stop outside of its bounds, or between two steps."""
    return Rejection(-2007, "Invalid callBack rate")


def only_limit() -> Rejection:
    """An amendment of an order that is not LIMIT."""
    return Rejection(-5025, "Only limit order is supported.")


def nothing_to_amend() -> Rejection:
    """An amendment that changes nothing."""
    return Rejection(-5027, "No need to modify the order.")


def position_side() -> Rejection:
    """positionSide that does not fit the position mode."""
    return Rejection(-4061, "Order's position side does not match user's setting.")


def same_position_mode() -> Rejection:
    """The position mode is set already."""
    return Rejection(-4059, "No need to change position side.")


def mode_with_orders() -> Rejection:
    """The position mode cannot change while orders are open."""
    return Rejection(-4067, "Position side cannot be changed if there exists open orders.")


def mode_with_positions() -> Rejection:
    """The position mode cannot change while a position is open."""
    return Rejection(-4068, "Position side cannot be changed if there exists position.")


def not_required(parameter: str) -> Rejection:
    """A parameter that may not be sent here."""
    return Rejection(-1106, f"Parameter '{parameter}' sent when not required.")


def leverage() -> Rejection:
    """Leverage outside of what the symbol allows."""
    return Rejection(-4028, "Leverage is not valid")
