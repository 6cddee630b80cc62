"""Alerts from numbers: full streams, memory, the day's loss, an hour without a trade. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from services.analytics.core.alerts import Alert, plain
from services.analytics.core.health import SystemView


@dataclass(frozen=True, slots=True)
class Trading:
    """What came of the last hour of market time."""

    signals: int = 0
    fills: int = 0
    whole_hour: bool = False
    """Rounds were decided before that hour too."""
    refused: tuple[str, ...] = ()
    """Rules that refused most."""
    losses: tuple[tuple[str, Decimal], ...] = ()
    """Net profit of the current UTC day by account, USD."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """From where on a number is an alert."""

    no_trades_signals: int = 10
    large_loss_usd: Decimal = Decimal(1000)
    memory_percent: float = 85.0


def standing(
    view: SystemView,
    trading: Trading,
    full: Mapping[str, float],
    bounds: Bounds,
    now: float,
) -> list[Alert]:
    """Return the alerts that hold now. `full`: filled share of the streams that refuse soon."""
    return [
        *_streams(full, now),
        *_memory(view, bounds, now),
        *_trading(trading, bounds, now),
        *_losses(trading, bounds, now),
    ]


def _streams(full: Mapping[str, float], now: float) -> Iterable[Alert]:
    for name, share in full.items():
        text = f"stream {name} is {100 * share:.0f} % full; at 100 % it takes no more facts"
        yield replace(
            plain("StreamFilling", name, text, now), metric="stream_filled_share", value=share
        )


def _memory(view: SystemView, bounds: Bounds, now: float) -> Iterable[Alert]:
    for service in view.services:
        for replica in service.replicas:
            if replica.memory_percent > bounds.memory_percent:
                text = (
                    f"{replica.instance} holds {replica.memory_percent:.0f} % of the machine's"
                    f" memory (limit {bounds.memory_percent:.0f} %)"
                )
                yield replace(
                    plain("HighMemory", replica.instance, text, now),
                    metric="memory_percent",
                    value=replica.memory_percent,
                    limit=bounds.memory_percent,
                )


def _trading(trading: Trading, bounds: Bounds, now: float) -> Iterable[Alert]:
    silent = trading.signals >= bounds.no_trades_signals and not trading.fills
    if silent and trading.whole_hour:
        why = f"; refused most by: {', '.join(trading.refused)}" if trading.refused else ""
        text = f"{trading.signals} signals in an hour of market time and no fill{why}"
        yield plain("NoTrades", "trading", text, now)


def _losses(trading: Trading, bounds: Bounds, now: float) -> Iterable[Alert]:
    for account, net in trading.losses:
        if net <= -bounds.large_loss_usd:
            text = f"account {account} lost {-net:.2f} USD today (limit {bounds.large_loss_usd})"
            yield replace(
                plain("LargeLoss", account, text, now),
                metric="daily_net_pnl_usd",
                value=float(net),
                limit=-float(bounds.large_loss_usd),
            )
