"""What an exception of ccxt proves about a request: nothing was done, or nobody knows."""

from __future__ import annotations

import re
import socket

import aiohttp
import ccxt

from services.exec_risk.core.exchange_events import Refused, Unknown

NOT_SENT = "not_sent"
AUTHENTICATION_CODES = frozenset({"-1002", "-1022", "-2014", "-2015"})
CLOCK_CODE = "-1021"
_CODE = re.compile(r'"code"\s*:\s*"?(-\d+)')
_TEXT = re.compile(r'"msg"\s*:\s*"([^"]*)"')
_RETRYABLE = (ccxt.InvalidNonce, ccxt.DDoSProtection, ccxt.RateLimitExceeded)


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


def classify(error: Exception) -> Refused | Unknown:
    """Return the outcome that an exception of a sent request proves.

    Refused needs proof: a code of the exchange below HTTP 500, a rate limit, or a connection
    that never was. Everything else is Unknown, also an ExchangeError without a code: ccxt makes
    one of an answer that broke off half way.
    """
    code, text = error_code(error), error_text(error)
    if code in AUTHENTICATION_CODES:
        # ccxt calls -2015 a DDoSProtection once a key has worked; sending again cures nothing
        return Refused(code=code, message=text)
    if isinstance(error, _RETRYABLE):
        return Refused(code=code or "rate_limited", message=text, retryable=True)
    if never_sent(error):
        return Refused(code=NOT_SENT, message=text, retryable=True)
    if isinstance(error, ccxt.AuthenticationError) and not code:
        return Refused(code=NOT_SENT, message=text)
    if isinstance(error, ccxt.ExchangeError) and code:
        return Refused(code=code, message=text)
    return Unknown(reason=f"{type(error).__name__}: {text}")
