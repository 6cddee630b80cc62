"""Ids are hashes of what they name: the same decision has the same id on every machine."""

from __future__ import annotations

import hashlib

CLIENT_ORDER_ID_LENGTH = 36
"""Longest client order id that Binance takes (error -4015)."""


def digest(*parts: str | int, length: int = 32) -> str:
    """Return the first `length` hexadecimal characters of SHA-256 over the parts."""
    text = "\x1f".join(map(str, parts))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def signal_id(venue: str, symbol: str, timeframe: str, candle_open: int) -> str:
    """Id of the one decision that a candle can lead to."""
    return "sig-" + digest("signal", venue, symbol, timeframe, candle_open, length=28)


def position_id(account: str, signal: str) -> str:
    """Id of the position that a signal opens on an account."""
    return "pos-" + digest("position", account, signal, length=28)


def client_order_id(account: str, decision: str, leg: str, number: int = 0) -> str:
    """Id of one order of a decision (a signal or position id), at most 36 characters.

    `leg` names the order's place, for example `entry`, `stop`, `target` or `exit`; `number`
    counts its replacements.
    """
    return f"qt{leg[0]}{number}-" + digest("order", account, decision, leg, number, length=24)


def trace_id(candle_key: str) -> str:
    """Trace id (32 hexadecimal characters) of everything that follows from a candle."""
    return digest("trace", candle_key, length=32)


def candle_span(candle_key: str) -> str:
    """Id of the span (16 hexadecimal characters) of a candle's publication."""
    return digest(candle_key, length=16)


def signal_span(signal: str) -> str:
    """Id of the span of a signal's publication: whoever acts on the signal is below it."""
    return digest("span", "signal", signal, length=16)


def judged_span(account: str, signal: str) -> str:
    """Id of the span in which an account took in a signal: all it does about it is below."""
    return digest("span", "judged", account, signal, length=16)
