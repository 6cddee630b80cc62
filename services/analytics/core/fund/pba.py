"""PBA: whether the portfolio is balanced, and what to reduce when it is not.

Shares are of the capacity: the exposure that the account may have. exec_risk holds entries to the
same shares; here is what the market makes of them afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_UP, Decimal

from services.analytics.core.fund.memory import Memory, correlation
from services.analytics.core.fund.pil import Kind
from services.analytics.core.fund.view import FundView, Holding
from services.trade.clusters import DEFAULT_CLUSTERS, cluster_of
from services.trade.times import MINUTE_MS

_STEP = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class PbaLimits:
    """Limits of the portfolio as fractions unless said otherwise."""

    max_exposure_usd: Decimal = Decimal(50_000)
    leverage: int = 5
    margin_share: Decimal = Decimal("0.9")
    symbol_share: Decimal = Decimal("0.30")
    sector_share: Decimal = Decimal("0.40")
    """One direction of a sector, or of symbols whose closes move together."""
    net_share: Decimal = Decimal("0.80")
    position_risk: Decimal = Decimal("0.02")
    """What one first stop may cost, of the equity,"""
    total_risk: Decimal = Decimal("0.15")
    """and all of them together."""
    correlation: float = 0.8
    """From here on two symbols count as one."""
    tolerance: Decimal = Decimal("0.05")
    """How far beyond a limit what was balanced before may drift."""
    pause_ms: int = 5 * MINUTE_MS
    """Least time between two reductions of one position."""
    clusters: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_CLUSTERS))

    def capacity(self, equity: Decimal) -> Decimal:
        """Return the exposure in USD that shares are fractions of."""
        return min(self.max_exposure_usd, equity * self.margin_share * self.leverage)


@dataclass(frozen=True, slots=True)
class Reduction:
    """A share of a position to close, and why."""

    holding: Holding
    share: Decimal
    reason: str


@dataclass(frozen=True, slots=True)
class Balance:
    """What a look at the portfolio found."""

    violations: tuple[str, ...]
    reductions: tuple[Reduction, ...]


@dataclass(frozen=True, slots=True)
class _Limit:
    """Holdings whose weights together must not exceed a number of USD."""

    name: str
    weights: Mapping[str, Decimal]
    """USD by position id."""
    most: Decimal


def look(
    view: FundView,
    memory: Memory,
    kinds: Mapping[str, Kind],
    limits: PbaLimits,
    *,
    exactly: bool = False,
) -> Balance:
    """Return the limits that do not hold and the reductions that mend them.

    `exactly`: a person asked, so that the tolerance is 0 and no pause is kept. The worst kind is
    reduced first, then the smallest profit. Never more than the whole position.
    """
    shares: dict[str, Decimal] = {}
    reasons: dict[str, str] = {}
    violations = []
    slack = 1 if exactly else 1 + limits.tolerance
    for limit in _limits(view, memory, limits):
        left = {p: usd * (1 - shares.get(p, Decimal(0))) for p, usd in limit.weights.items()}
        total = sum(left.values(), Decimal(0))
        if total <= limit.most * slack:
            continue
        text = f"{limit.name}: {total:.2f} USD is above {limit.most:.2f}"
        violations.append(text)
        over = total - limit.most
        for holding in _worst_first(view, kinds, left):
            if over <= 0:
                break
            free = left[holding.position_id]
            cut = min(over, free)
            whole = limit.weights[holding.position_id]
            shares[holding.position_id] = shares.get(holding.position_id, Decimal(0)) + cut / whole
            reasons.setdefault(holding.position_id, text)
            over -= cut
    found = tuple(
        Reduction(h, _rounded(shares[h.position_id]), reasons[h.position_id])
        for h in view.holdings
        if shares.get(h.position_id, Decimal(0)) > 0
        and (exactly or _rested(view, memory, h, limits))
    )
    return Balance(tuple(violations), found)


def _limits(view: FundView, memory: Memory, limits: PbaLimits) -> Iterable[_Limit]:
    capacity = limits.capacity(view.equity)
    for h in view.holdings:
        risk = {h.position_id: h.notional * h.risk_fraction}
        yield _Limit(f"risk of {h.symbol}", risk, view.equity * limits.position_risk)
        own = {h.position_id: h.notional}
        yield _Limit(f"share of {h.symbol}", own, capacity * limits.symbol_share)
    for name, group in _groups(view, memory, limits):
        weights = {h.position_id: h.notional for h in group}
        yield _Limit(name, weights, capacity * limits.sector_share)
    risks = {h.position_id: h.notional * h.risk_fraction for h in view.holdings}
    yield _Limit("risk of all stops", risks, view.equity * limits.total_risk)
    for sign, word in ((1, "long"), (-1, "short")):
        side = {h.position_id: h.notional for h in view.holdings if h.side.sign == sign}
        other = sum((h.notional for h in view.holdings if h.side.sign != sign), Decimal(0))
        yield _Limit(f"net {word} exposure", side, capacity * limits.net_share + other)
    gross = {h.position_id: h.notional for h in view.holdings}
    yield _Limit("gross exposure", gross, capacity)


def _groups(
    view: FundView, memory: Memory, limits: PbaLimits
) -> Iterable[tuple[str, list[Holding]]]:
    """Return the sectors of each direction, and what moves together across them."""
    sectors: dict[tuple[str, int], list[Holding]] = {}
    for h in view.holdings:
        key = (cluster_of(h.symbol, limits.clusters), h.side.sign)
        sectors.setdefault(key, []).append(h)
    for (name, sign), group in sorted(sectors.items()):
        yield f"{'long' if sign > 0 else 'short'} sector {name}", group
    for h in view.holdings:
        mine = memory.closes.get(h.symbol, ())
        together = [h]
        for other in view.holdings:
            if other.symbol <= h.symbol:
                continue
            found = correlation(mine, memory.closes.get(other.symbol, ()))
            # opposite directions of opposite movers are one bet too
            if found is not None and found * h.side.sign * other.side.sign >= limits.correlation:
                together.append(other)
        if len(together) > 1:
            names = ", ".join(o.symbol for o in together)
            yield f"correlated {names}", together


def _worst_first(
    view: FundView, kinds: Mapping[str, Kind], among: Mapping[str, Decimal]
) -> list[Holding]:
    order = list(Kind)
    held = [h for h in view.holdings if among.get(h.position_id, Decimal(0)) > 0]
    return sorted(
        held,
        key=lambda h: (
            order.index(kinds.get(h.position_id, Kind.NEUTRAL)),
            h.profit_r,
            h.position_id,
        ),
    )


def _rested(view: FundView, memory: Memory, holding: Holding, limits: PbaLimits) -> bool:
    last = memory.seen(holding.position_id).reduced_at
    return not last or view.time - last >= limits.pause_ms


def _rounded(share: Decimal) -> Decimal:
    return min(share.quantize(_STEP, rounding=ROUND_UP), Decimal(1))
