"""Every code of the reference: refused by proof and curable, refused for good, or unknown."""

from __future__ import annotations

import aiohttp
import ccxt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.core.exchange_events import Refused, Unknown
from services.exec_risk.exchange.errors import classify

CURABLE, FINAL, OPEN = "curable", "final", "open"
TABLE = {
    # an order may be alive behind these
    -1000: OPEN, -1001: OPEN, -1006: OPEN, -1007: OPEN, -4116: OPEN,
    # the same request may be taken later
    -1003: CURABLE, -1008: CURABLE, -1015: CURABLE, -1021: CURABLE, -2020: CURABLE,
    -4045: CURABLE, -4061: CURABLE, -4131: CURABLE,
    # nothing was done, and nothing will be
    -1002: FINAL, -1013: FINAL, -1022: FINAL, -1102: FINAL, -1106: FINAL, -1111: FINAL,
    -1116: FINAL, -1121: FINAL, -1125: FINAL, -2010: FINAL, -2011: FINAL, -2013: FINAL,
    -2014: FINAL, -2015: FINAL, -2018: FINAL, -2019: FINAL, -2021: FINAL, -2022: FINAL,
    -2024: FINAL, -2025: FINAL, -2027: FINAL, -2028: FINAL, -4003: FINAL, -4005: FINAL,
    -4014: FINAL, -4015: FINAL, -4028: FINAL, -4046: FINAL, -4047: FINAL, -4048: FINAL,
    -4050: FINAL, -4051: FINAL, -4059: FINAL, -4067: FINAL, -4068: FINAL, -4118: FINAL,
    -4120: FINAL, -4142: FINAL, -4164: FINAL, -4183: FINAL, -4192: FINAL, -5021: FINAL,
    -5022: FINAL, -5028: FINAL,
}  # fmt: skip
KINDS = [
    ccxt.ExchangeError, ccxt.InvalidOrder, ccxt.OperationFailed, ccxt.InvalidNonce,
    ccxt.DDoSProtection, ccxt.AuthenticationError, ccxt.InsufficientFunds, ccxt.NetworkError,
    ccxt.RequestTimeout, ccxt.ExchangeNotAvailable, ccxt.BadRequest, ccxt.OrderNotFound,
]  # fmt: skip


def kind_of(outcome: Refused | Unknown) -> str:
    if isinstance(outcome, Unknown):
        return OPEN
    return CURABLE if outcome.retryable else FINAL


def said(code: int) -> str:
    return f'binanceusdm {{"code":{code},"msg":"x"}}'


@pytest.mark.parametrize("code", sorted(TABLE))
@pytest.mark.parametrize("kind", KINDS)
def test_every_code_of_the_reference(code: int, kind: type[ccxt.BaseError]) -> None:
    """Incidents 22, 26, 48: the answer decides, whatever exception ccxt makes of it."""
    for status in (400, 401):
        outcome = classify(kind(said(code)), status)
        assert kind_of(outcome) == TABLE[code]
        if isinstance(outcome, Refused):
            assert (outcome.code, outcome.message) == (str(code), "x")


@given(
    st.sampled_from(sorted(TABLE)) | st.integers(-9_999, -1),
    st.integers(500, 599),
    st.sampled_from(KINDS),
)
def test_a_server_fault_never_proves_anything(
    code: int, status: int, kind: type[ccxt.BaseError]
) -> None:
    """Also -1008 and the 503 texts that sound like a refusal: one of them is none."""
    assert isinstance(classify(kind(said(code)), status), Unknown)


@pytest.mark.parametrize(
    "text",
    [
        "Unknown error, please check your request or try again later.",
        "Service Unavailable.",
        "Internal error; unable to process your request. Please try again.",
        "<html>503</html>",
    ],
)
def test_texts_under_503_are_unknown(text: str) -> None:
    assert isinstance(classify(ccxt.ExchangeNotAvailable(text), 503), Unknown)


@given(st.integers(200, 417) | st.integers(419, 428) | st.integers(430, 499), st.text(max_size=40))
def test_an_answer_without_a_code_is_unknown(status: int, body: str) -> None:
    """A proxy's page, a body that broke off: nobody knows what the exchange did."""
    if '"code"' not in body:
        assert isinstance(classify(ccxt.ExchangeError(body), status), Unknown)


@given(st.integers(-9_999, -1))
def test_an_unlisted_code_is_proof_only_where_orders_and_filters_speak(code: int) -> None:
    """General faults of processing (-10xx) that nobody listed are unknown, as odd numbers are."""
    outcome = classify(ccxt.ExchangeError(said(code)), 400)
    if code in TABLE:
        assert kind_of(outcome) == TABLE[code]
    elif -1099 <= code <= -1000:
        assert isinstance(outcome, Unknown) or code in (-1016, -1020, -1023)
    elif -1199 <= code <= -1100 or -2999 <= code <= -2000 or -5999 <= code <= -4000:
        assert kind_of(outcome) == FINAL
    else:
        assert isinstance(outcome, Unknown)


@pytest.mark.parametrize("status", [418, 429])
def test_a_rate_limit_is_a_refusal_that_time_cures(status: int) -> None:
    outcome = classify(ccxt.DDoSProtection("429 Too Many Requests <html>"), status)
    assert outcome == Refused("rate_limited", "429 Too Many Requests <html>", retryable=True)


@pytest.mark.parametrize("kind", [ccxt.RequestTimeout, ccxt.NetworkError, ccxt.ExchangeError])
def test_no_answer_is_unknown(kind: type[ccxt.BaseError]) -> None:
    assert isinstance(classify(kind("POST /order"), None), Unknown)


def test_a_connection_that_never_was_proves_that_nothing_was_sent() -> None:
    error = ccxt.ExchangeNotAvailable("POST /order")
    error.__cause__ = aiohttp.ServerDisconnectedError()
    assert isinstance(classify(error, None), Unknown)
    error.__cause__ = aiohttp.ClientConnectorError.__new__(aiohttp.ClientConnectorError)
    assert classify(error, None) == Refused("not_sent", "POST /order", retryable=True)
