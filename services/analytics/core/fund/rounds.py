"""One round of the fund's layers: what each decides, and who wins where they contradict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from services.analytics.core.fund import hfos, pal, pba
from services.analytics.core.fund.hfos import HfosLimits, ModeDecision
from services.analytics.core.fund.memory import Memory, Seen, observe
from services.analytics.core.fund.pal import Amplification, PalLimits
from services.analytics.core.fund.pba import Balance, PbaLimits
from services.analytics.core.fund.pil import Kind, classified
from services.analytics.core.fund.view import FundView, Holding
from services.trade.fund_modes import REDUCTION
from services.trade.fund_policy import PRECEDENCE, Directive, DirectiveAction, FundPolicy, Layer
from services.trade.ids import digest
from services.trade.times import MINUTE_MS

_REDUCES = (DirectiveAction.REDUCE, DirectiveAction.CLOSE)


@dataclass(frozen=True, slots=True)
class FundLimits:
    """Thresholds of all layers, which of them run, and how long a directive may wait."""

    hfos: HfosLimits = field(default_factory=HfosLimits)
    pba: PbaLimits = field(default_factory=PbaLimits)
    pal: PalLimits = field(default_factory=PalLimits)
    hfos_enabled: bool = True
    pba_enabled: bool = True
    pal_enabled: bool = True
    deadline_ms: int = 3 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class FundDecision:
    """What a round leads to."""

    mode: ModeDecision | None
    directives: tuple[Directive, ...]
    balance: Balance | None
    """Told when something does not hold or a person asked."""
    amplifications: tuple[Amplification, ...]
    """Those that lead to a directive, and each blocker of a position once."""
    kinds: Mapping[str, Kind]
    memory: Memory


def decide(
    view: FundView,
    memory: Memory,
    policy: FundPolicy,
    limits: FundLimits,
    *,
    asked: bool = False,
) -> FundDecision:
    """Return what the layers decide about a round that is over; it holds right after it.

    `asked`: a person asked for balance. In an emergency of the system's health, which comes
    before all of them, nothing is added.
    """
    memory = observe(memory, view)
    kinds = classified(view, memory)
    mode = None
    if limits.hfos_enabled and policy.hfos_enabled:
        mode, memory = hfos.decide(view, memory, policy, limits.hfos)
    directives = list(_for_mode(view, mode, limits))
    balance = None
    if asked or (limits.pba_enabled and policy.pba_enabled):
        balance = pba.look(view, memory, kinds, limits.pba, exactly=asked)
        directives += _for_balance(view, balance, limits)
    amplified: tuple[Amplification, ...] = ()
    healthy = view.health >= limits.hfos.critical_health
    if limits.pal_enabled and policy.pal_enabled and healthy:
        after = policy if mode is None else replace(policy, fund_mode=mode.mode)
        amplified = pal.look(view, memory, kinds, after, limits.pal, limits.pba)
        directives += _for_winners(view, amplified, limits)
    kept = resolved(directives)
    told = balance if balance is not None and (asked or balance.violations) else None
    memory = _remember(memory, view, kept)
    issued = {d.position_id for d in kept if d.layer is Layer.PAL}
    news, memory = _news(amplified, issued, memory)
    return FundDecision(mode, kept, told, news, kinds, memory)


def resolved(directives: Iterable[Directive]) -> tuple[Directive, ...]:
    """Return one directive a position: that of the layer that comes first in PRECEDENCE.

    Of one layer's, the one that closes most.
    """
    best: dict[str, Directive] = {}
    for directive in directives:
        known = best.get(directive.position_id)
        if known is None or _place(directive) < _place(known):
            best[directive.position_id] = directive
    return tuple(sorted(best.values(), key=lambda d: (_place(d), d.position_id)))


def _place(directive: Directive) -> tuple[int, Decimal]:
    return PRECEDENCE.index(directive.layer), -directive.share


def _for_mode(view: FundView, mode: ModeDecision | None, limits: FundLimits) -> Iterable[Directive]:
    """Reduce everything when a mode begins that asks for it, not when one gives way to it."""
    share = REDUCTION.get(mode.mode) if mode is not None else None
    if mode is None or share is None or mode.relaxes:
        return
    for holding in view.holdings:
        reasons = (f"fund mode {mode.mode} begins", *mode.reasons)
        yield directive(view, holding, Layer.HFOS, DirectiveAction.REDUCE, share, reasons, limits)


def _for_balance(view: FundView, balance: Balance, limits: FundLimits) -> Iterable[Directive]:
    for found in balance.reductions:
        action = DirectiveAction.CLOSE if found.share >= 1 else DirectiveAction.REDUCE
        yield directive(
            view, found.holding, Layer.PBA, action, found.share, (found.reason,), limits
        )


def _for_winners(
    view: FundView, amplified: Iterable[Amplification], limits: FundLimits
) -> Iterable[Directive]:
    for found in amplified:
        if not found.blocked_by:
            yield directive(
                view,
                found.holding,
                Layer.PAL,
                found.action,
                found.share,
                found.reasons,
                limits,
            )


def directive(
    view: FundView,
    holding: Holding,
    layer: Layer,
    action: DirectiveAction,
    share: Decimal,
    reasons: tuple[str, ...],
    limits: FundLimits,
) -> Directive:
    """Return what is asked of a position right after this round."""
    name = digest("directive", view.account, holding.position_id, layer, action, view.time)
    return Directive(
        directive_id=f"dir-{name[:28]}",
        account=view.account,
        layer=layer,
        action=action,
        symbol=holding.symbol,
        position_id=holding.position_id,
        share=share,
        reasons=reasons,
        decided_at=view.time,
        effective_from=view.time + 1,
        deadline=view.time + limits.deadline_ms,
    )


def _news(
    amplified: Iterable[Amplification], issued: set[str], memory: Memory
) -> tuple[tuple[Amplification, ...], Memory]:
    """Return what is to be told: what is done now, and what forbids it when that was not told."""
    news, positions = [], dict(memory.positions)
    for found in amplified:
        position = found.holding.position_id
        if position in issued:
            news.append(found)
        elif found.blocked_by:
            note = f"{found.action.value} blocked by {found.blocked_by}"
            seen = positions.get(position, Seen())
            if note not in seen.done:
                news.append(found)
                positions[position] = replace(seen, done=(*seen.done, note))
    return tuple(news), replace(memory, positions=positions)


def _remember(memory: Memory, view: FundView, directives: Iterable[Directive]) -> Memory:
    positions = dict(memory.positions)
    for found in directives:
        seen = memory.seen(found.position_id)
        if found.action in _REDUCES:
            seen = replace(seen, reduced_at=view.time)
        else:
            seen = replace(seen, done=(*seen.done, found.action.value))
        positions[found.position_id] = seen
    return replace(memory, positions=positions)
