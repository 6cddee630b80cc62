"""Faults in JSON: what POST /paper/v1/faults takes and GET answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from math import inf
from typing import Any, TypeVar

from services.venue.core.disturbances import Disturbance
from services.venue.core.faults import Fault, FaultBody, FaultKind, Match, Standing

_E = TypeVar("_E", FaultKind, FaultBody)
_MATCH = tuple(field.name for field in fields(Match))
_WHOLE = ("times", "skip", "delay_ms", "status", "code", "retry_after", "offset_ms")
_KNOWN = {*_MATCH, *_WHOLE, *("id", "kind", "seconds", "message", "body", "carried_out", "amount")}
_STATUSES = range(200, 600)
_CODES = range(-9999, 1)


class BadFault(ValueError):
    """A fault that cannot be read; the text says what is wrong."""


def parse(data: Any, fault_id: str) -> Fault:
    """Return the fault that was asked for; `fault_id` names one that came without an id."""
    if not isinstance(data, Mapping):
        raise BadFault("a fault is a JSON object")
    unknown = sorted(set(data) - _KNOWN)
    if unknown:
        raise BadFault(f"unknown fields: {', '.join(unknown)}; known: {', '.join(sorted(_KNOWN))}")
    kind = _one_of(FaultKind, data, "kind", None)
    seconds = _seconds(data, kind)
    whole = {name: _whole(data, name) for name in _WHOLE if name in data}
    if kind.lasting or ("times" not in data and seconds):
        whole["times"] = 0
    fault = Fault(
        fault_id=str(data.get("id") or fault_id),
        kind=kind,
        match=Match(**{name: str(data[name]) for name in _MATCH if data.get(name)}),
        seconds=seconds,
        message=str(data.get("message", "")),
        body=_one_of(FaultBody, data, "body", _usual_body(kind).value),
        carried_out=bool(data.get("carried_out", False)),
        amount=_amount(data, kind),
        **whole,
    )
    _check(fault, data)
    return fault


def standing_json(one: Standing, now: float) -> dict[str, Any]:
    """Return a fault of requests, replies, streams or the clock that is in force."""
    fault = one.fault
    shown: dict[str, Any] = {"id": fault.fault_id, "kind": fault.kind.value}
    shown |= {name: value for name in _MATCH if (value := getattr(fault.match, name))}
    shown |= {"times": fault.times, "used": one.used, "skip": fault.skip}
    shown |= {"left_seconds": round(one.ends_at - now, 3) if one.ends_at is not None else None}
    return shown | _parameters(fault)


def disturbance_json(one: Disturbance, now_ms: int) -> dict[str, Any]:
    """Return a fault of the market that is in force."""
    shown: dict[str, Any] = {"id": one.fault_id, "kind": one.kind.value}
    shown |= {n: v for n in ("symbol", "side", "client_id") if (v := getattr(one, n))}
    left = round((one.until_ms - now_ms) / 1000, 3) if one.until_ms else None
    return {**shown, "left": one.left, "left_seconds": left, "amount": str(one.amount)}


def disturbance(fault: Fault, now_ms: int) -> Disturbance:
    """Return a fault of the market as the engine keeps it."""
    match = fault.match
    return Disturbance(
        fault_id=fault.fault_id,
        kind=fault.kind,
        amount=fault.amount,
        symbol=match.symbol,
        side=match.side,
        client_id=match.client_id,
        left=fault.times,
        until_ms=now_ms + int(fault.seconds * 1000) if fault.seconds else 0,
    )


def _parameters(fault: Fault) -> dict[str, Any]:
    if "delay" in fault.kind.value or "reorder" in fault.kind.value:
        return {"delay_ms": fault.delay_ms}
    if fault.kind is FaultKind.ERROR:
        answer = {"status": fault.status, "code": fault.code, "message": fault.message}
        return {**answer, "body": fault.body.value, "carried_out": fault.carried_out}
    if fault.kind is FaultKind.BAN:
        return {"status": fault.status, "retry_after": fault.retry_after}
    if fault.kind is FaultKind.SKEW:
        return {"offset_ms": fault.offset_ms}
    return {"carried_out": fault.carried_out} if fault.kind is FaultKind.SILENCE else {}


def _check(fault: Fault, data: Mapping[str, Any]) -> None:
    if min(fault.times, fault.skip, fault.delay_ms, fault.retry_after) < 0:
        raise BadFault("times, skip, delay_ms and retry_after are not negative")
    if fault.status not in _STATUSES or fault.code not in _CODES:
        raise BadFault("status is an HTTP status, code is Binance's: negative or 0")
    if fault.kind is FaultKind.SKEW and not fault.offset_ms:
        raise BadFault("skew needs offset_ms, for example 3000")
    if fault.kind is FaultKind.BAN and fault.status not in (418, 429):
        raise BadFault("a ban needs status 429 or 418")
    if fault.kind is FaultKind.GAP and not data.get("symbol"):
        raise BadFault("gap needs a symbol")


def _usual_body(kind: FaultKind) -> FaultBody:
    """In maintenance the exchange's front answers with a page of its own."""
    return FaultBody.HTML if kind is FaultKind.MAINTENANCE else FaultBody.JSON


def _seconds(data: Mapping[str, Any], kind: FaultKind) -> float:
    value = data.get("seconds", 0)
    if not value and kind is FaultKind.BAN:
        value = data.get("retry_after", 0)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < inf:
        raise BadFault("seconds is a number, 0 or more")
    return float(value)


def _whole(data: Mapping[str, Any], name: str) -> int:
    value = data[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadFault(f"{name} is a whole number")
    return value


def _amount(data: Mapping[str, Any], kind: FaultKind) -> Decimal:
    if not kind.of_market:
        return Decimal(0)
    try:
        value = Decimal(str(data.get("amount", "")))
    except InvalidOperation:
        raise BadFault(f"{kind.value} needs amount, for example 0.2") from None
    if not value.is_finite():
        raise BadFault(f"{kind.value} needs amount, for example 0.2")
    if kind is FaultKind.GAP and not -1 < value < 10:
        raise BadFault("a gap is a share of the price above -1 and below 10")
    if kind is FaultKind.PARTIAL and not 0 < value < 1:
        raise BadFault("a partial fill is a share of the order above 0 and below 1")
    return value


def _one_of(kinds: type[_E], data: Mapping[str, Any], name: str, default: str | None) -> _E:
    try:
        return kinds(data.get(name, default))
    except ValueError:
        names = ", ".join(sorted(one.value for one in kinds))
        raise BadFault(f"{name} is one of: {names}") from None
