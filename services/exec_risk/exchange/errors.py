"""What an answer proves about a request: nothing was done, or nobody knows.

A request is refused only when the exchange's own answer proves it: one of its codes with a status
below 500, a rate limit, or a connection that never was. Everything else is unknown, however
clear its text sounds: of Binance's four texts under 503 one means that the order may be alive,
and a proxy in between may have written any of them.
"""

from __future__ import annotations

import re
import socket

import aiohttp
import ccxt

from services.exec_risk.core.exchange_events import Refused, Unknown

NOT_SENT = "not_sent"
RATE_LIMITED = "rate_limited"
CLOCK_CODE = "-1021"
WRONG_POSITION_SIDE_CODE = "-4061"
AUTHENTICATION_CODES = frozenset({"-1002", "-1022", "-2014", "-2015"})
UNKNOWN_ORDER_CODES = frozenset({"-2011", "-2013"})

RETRYABLE_CODES = frozenset(
    {
        "-1003",  # too many requests
        "-1008",  # overloaded: not taken in
        "-1015",  # too many orders
        "-1021",  # signed too early or too late: a new write signs anew
        "-2020",  # no quantity to fill against
        "-4045",  # too many stop orders: their slots free up slowly (incident 21)
        "-4061",  # the position mode was changed: it is read again
        "-4131",  # the best price is outside of the price filter
    }
)
"""Refusals that the same request may not meet again later."""

UNKNOWN_CODES = frozenset(
    {
        "-1000",  # an unknown error while processing
        "-1001",  # disconnected
        "-1006",  # unexpected response: execution status unknown
        "-1007",  # time-out: send status unknown
        # an open order has this client order id. Ours are unique, so it is the very order that
        # is asked for, placed by a request whose answer was lost: find it, never give it up
        "-4116",
    }
)
"""Codes that leave open whether the request was carried out."""

_PROVING = re.compile(r"-(1[01]\d\d|2\d\d\d|4\d\d\d|5\d\d\d)")
_PROCESSING = re.compile(r"-10\d\d")
_REFUSED_OF_PROCESSING = frozenset({"-1002", "-1003", "-1008", "-1013", "-1015", "-1016", "-1020",
                                    "-1021", "-1022", "-1023"})  # fmt: skip
_CODE = re.compile(r'"code"\s*:\s*"?(-\d+)')
_TEXT = re.compile(r'"msg"\s*:\s*"([^"]*)"')


def error_code(error: BaseException) -> str:
    """Return Binance's code in an exception, such as `-2019`; empty when it carries none."""
    found = _CODE.search(str(error))
    return found.group(1) if found else ""


def error_text(error: BaseException) -> str:
    """Return Binance's message in an exception, or the exception's own text, cut short."""
    found = _TEXT.search(str(error))
    return (found.group(1) if found else str(error))[:300]


def never_sent(error: BaseException) -> bool:
    """Return True when no byte of the request left this machine."""
    return isinstance(error, ccxt.ExchangeNotAvailable) and isinstance(
        error.__cause__, aiohttp.ClientConnectorError | socket.gaierror
    )


def is_authentication(error: BaseException) -> bool:
    """Return True when the exchange does not accept the key or the signature."""
    code = error_code(error)
    if code:
        return code in AUTHENTICATION_CODES
    return isinstance(error, ccxt.AuthenticationError)


def proves_refusal(code: str) -> bool:
    """Return True for a code that says that nothing was done.

    The codes of orders, filters and parameters do, also those that are not listed here; of the
    general ones (-10xx), which tell of processing that went wrong, only those known to.
    """
    if code in UNKNOWN_CODES or not _PROVING.fullmatch(code):
        return False
    return code in _REFUSED_OF_PROCESSING or not _PROCESSING.fullmatch(code)


def classify(error: Exception, status: int | None) -> Refused | Unknown:
    """Return what a failed request proves; `status` is None when no answer came."""
    code, text = error_code(error), error_text(error)
    if status is None:
        if never_sent(error):
            return Refused(code=NOT_SENT, message=text, retryable=True)
        if isinstance(error, ccxt.AuthenticationError):
            # ccxt itself finds that it has no key
            return Refused(code=NOT_SENT, message=text)
        return Unknown(reason=f"{type(error).__name__}: {text}")
    if status in (418, 429):
        return Refused(code=code or RATE_LIMITED, message=text, retryable=True)
    if status < 500 and proves_refusal(code):
        return Refused(code=code, message=text, retryable=code in RETRYABLE_CODES)
    return Unknown(reason=f"HTTP {status}: {text}")
