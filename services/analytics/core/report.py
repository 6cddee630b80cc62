"""The report of a span of market time: what moved, what the closed trades were, and how it went.

Two sums stand side by side. The flows are the fills and settlements whose own time lies in the
span: they are what the exchange's account history of that span says, to the last digit. The
groups are of trades that closed in the span, whole: a trade that was open before counts here with
all its costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.analytics.core import measures
from services.analytics.core.equity import EquityPoint
from services.analytics.core.measures import Drawdown, Share
from services.analytics.core.truth import TradeTruth
from services.trade.times import to_datetime, utc_day

_ZERO = Decimal(0)
HOURS = 3_600_000


@dataclass(frozen=True, slots=True)
class Flows:
    """Money that moved in a span: fills and settlements by their own time."""

    gross: Decimal = _ZERO
    commission: Decimal = _ZERO
    funding: Decimal = _ZERO
    fills: int = 0

    @property
    def net(self) -> Decimal:
        """Change of the wallet: gross minus commission plus funding."""
        return self.gross - self.commission + self.funding


@dataclass(frozen=True, slots=True)
class Group:
    """Closed trades with something in common."""

    name: str
    trades: int
    wins: int
    gross: Decimal
    commission: Decimal
    funding: Decimal
    win_rate: Share | None
    profit_factor: float | None
    average_r: float | None
    slippage: Decimal | None
    """Sum over the trades that a signal led to; None when there are none."""
    slippage_bp: float | None
    """Average, each trade alike."""
    adverse: Decimal | None
    """Average MAE of the trades whose candles are known."""
    favourable: Decimal | None
    holding_ms: int
    """Average."""
    in_sample: bool

    @property
    def net(self) -> Decimal:
        """Profit after commission and funding."""
        return self.gross - self.commission + self.funding


@dataclass(frozen=True, slots=True)
class Measures:
    """How the equity went."""

    drawdown: Drawdown
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    days: int
    """Daily returns that the ratios rest on."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a span brought."""

    since: int
    until: int
    flows: Flows
    total: Group
    by_day: tuple[Group, ...]
    by_hour: tuple[Group, ...]
    """By hour of the UTC day in which the trade closed."""
    by_symbol: tuple[Group, ...]
    by_model: tuple[Group, ...]
    by_exit: tuple[Group, ...]
    measures: Measures
    equity: tuple[EquityPoint, ...]
    trades: tuple[TradeTruth, ...]


def make(
    since: int,
    until: int,
    flows: Flows,
    trades: Sequence[TradeTruth],
    equity: Sequence[EquityPoint],
) -> Report:
    """Put a report together of what closed and moved from `since` to before `until`."""
    return Report(
        since=since,
        until=until,
        flows=flows,
        total=group("total", trades),
        by_day=_grouped(trades, lambda t: utc_day(_closed(t))),
        by_hour=_grouped(trades, lambda t: f"{to_datetime(_closed(t)):%H}:00"),
        by_symbol=_grouped(trades, lambda t: t.position.symbol),
        by_model=_grouped(trades, lambda t: t.position.entry_model or "none"),
        by_exit=_grouped(trades, lambda t: str(t.position.exit_reason or "unknown")),
        measures=measure(equity),
        equity=tuple(equity),
        trades=tuple(trades),
    )


def measure(equity: Sequence[EquityPoint]) -> Measures:
    """Return how an equity curve went."""
    returns = measures.daily_returns(equity)
    return Measures(
        drawdown=measures.drawdown(equity),
        sharpe=measures.sharpe(returns),
        sortino=measures.sortino(returns),
        calmar=measures.calmar(equity),
        days=len(returns),
    )


def group(name: str, trades: Sequence[TradeTruth]) -> Group:
    """Add up trades."""
    positions = [t.position for t in trades]
    wins = sum(t.net > 0 for t in trades)
    slipped = [t for t in trades if t.slippage is not None]
    return Group(
        name=name,
        trades=len(trades),
        wins=wins,
        gross=sum((p.realized_pnl for p in positions), _ZERO),
        commission=sum((p.commission for p in positions), _ZERO),
        funding=sum((p.funding for p in positions), _ZERO),
        win_rate=measures.wilson(wins, len(trades)),
        profit_factor=measures.profit_factor(t.net for t in trades),
        average_r=_average(t.r for t in trades),
        slippage=sum((t.slippage or _ZERO for t in slipped), _ZERO) if slipped else None,
        slippage_bp=_average(t.slippage_bp for t in slipped),
        adverse=_average_money(t.adverse for t in trades),
        favourable=_average_money(t.favourable for t in trades),
        holding_ms=sum(t.holding_ms for t in trades) // len(trades) if trades else 0,
        in_sample=any(p.in_sample for p in positions),
    )


def _grouped(trades: Sequence[TradeTruth], key: Callable[[TradeTruth], str]) -> tuple[Group, ...]:
    parts: dict[str, list[TradeTruth]] = {}
    for trade in trades:
        parts.setdefault(key(trade), []).append(trade)
    return tuple(group(name, parts[name]) for name in sorted(parts))


def _closed(truth: TradeTruth) -> int:
    return truth.position.closed_time or truth.position.opened_time


def _average(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _average_money(values: Iterable[Decimal | None]) -> Decimal | None:
    known = [v for v in values if v is not None]
    return sum(known, _ZERO) / len(known) if known else None
