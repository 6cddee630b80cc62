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


def leverage() -> Rejection:
    """Leverage outside of what the symbol allows."""
    return Rejection(-4028, "Leverage is not valid")
