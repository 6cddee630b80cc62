"""The fund's layers: modes with hysteresis, kinds, balance, winners, and who wins."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.core.fund import hfos, pal, pba
from services.analytics.core.fund.hfos import CAUTION, HfosLimits
from services.analytics.core.fund.memory import Memory, Seen, correlation, observe, volatility
from services.analytics.core.fund.pil import Kind, classified, classify
from services.analytics.core.fund.rounds import FundLimits, decide, resolved
from services.analytics.core.fund.view import HOUR_MS, FundView, Holding
from services.trade.fund_policy import (
    PRECEDENCE,
    DirectiveAction,
    FundMode,
    FundPolicy,
    Layer,
    SystemMode,
)
from services.trade.position import PositionSide
from services.trade.times import MINUTE_MS

D = Decimal
START = 1_700_000_040_000
LIMITS = HfosLimits()


def held(
    symbol: str = "BTCUSDT",
    profit: str = "0",
    *,
    notional: str = "1000",
    side: PositionSide = PositionSide.LONG,
    minutes: int = 5,
    now: int = START,
) -> Holding:
    """A position with this profit in R; its stop is 1 % away and its entry at 100."""
    mark = 100 + D(profit) * side.sign
    return Holding(
        f"pos-{symbol}",
        symbol,
        side,
        D(notional) / mark,
        D(100),
        mark,
        now - minutes * MINUTE_MS,
        D("0.01"),
    )


def view(*holdings: Holding, equity: str = "10000", time: int = START, **more: object) -> FundView:
    """A round."""
    return FundView("main", time, D(equity), holdings, **more)  # type: ignore[arg-type]


def at_peak(equity: str = "10000") -> Memory:
    """A memory whose highest equity of the day is this one."""
    return observe(Memory(), view(equity=equity, time=START - MINUTE_MS))


def mode(found: FundView, memory: Memory, current: FundMode) -> tuple[FundMode | None, Memory]:
    """Return the mode that is decided."""
    memory = observe(memory, found)
    decision, kept = hfos.decide(found, memory, FundPolicy(fund_mode=current), LIMITS)
    return (decision.mode if decision else None), kept


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        (view(equity="9690"), FundMode.SAFE),
        (view(equity="9710"), None),
        (view(equity="9200"), FundMode.CRITICAL),
        (view(health=69), FundMode.SAFE),
        (view(health=29), FundMode.CRITICAL),
        (view(losses_in_a_row=5), FundMode.SAFE),
        (view(losses_in_a_row=8), FundMode.CRITICAL),
        (view(trades=20, net=D(5)), None),
    ],
)
def test_a_stricter_mode_begins_at_once(now: FundView, wanted: FundMode | None) -> None:
    """Incident 120: each mode is driven; CRITICAL by drawdown as by health."""
    assert mode(now, at_peak(), FundMode.NORMAL)[0] is wanted


def test_every_mode_is_reached_and_left_again() -> None:
    memory, current, seen = at_peak(), FundMode.NORMAL, []
    good = {"trades": 25, "net": D(10)}
    for minute in range(1, 120):
        equity = "9100" if 5 <= minute < 8 else "10000"
        found = view(equity=equity, time=START + minute * MINUTE_MS, **good)
        decided, memory = mode(found, memory, current)
        if decided is not None:
            current = decided
            seen.append((minute, decided))
    assert [decided for _, decided in seen] == [
        FundMode.CRITICAL,
        FundMode.SAFE,
        FundMode.NORMAL,
        FundMode.AGGRESSIVE,
    ]
    assert seen[0] == (5, FundMode.CRITICAL)
    gaps = [after - before for (before, _), (after, _) in pairwise(seen)]
    assert all(gap >= 15 for gap in gaps[1:])


@given(
    st.lists(
        st.tuples(st.integers(8000, 11000), st.integers(0, 100), st.integers(0, 10)),
        min_size=2,
        max_size=60,
    )
)
def test_no_mode_relaxes_fast_nor_by_more_than_one(story: list[tuple[int, int, int]]) -> None:
    memory, current, changed = Memory(), FundMode.NORMAL, START
    for minute, (equity, health, losses) in enumerate(story):
        time = START + minute * MINUTE_MS
        found = view(equity=str(equity), time=time, health=health, losses_in_a_row=losses)
        decided, memory = mode(found, memory, current)
        again, _ = mode(found, memory, current) if decided is None else (None, None)
        assert again is None
        if decided is None:
            continue
        step = CAUTION.index(decided) - CAUTION.index(current)
        assert step != 0
        if step < 0:
            assert step == -1 and time - changed >= LIMITS.relax_ms
        current, changed = decided, time


def test_a_drawdown_does_not_keep_a_fund_from_entering_for_ever() -> None:
    """The peak is the last day's: a fund that makes no entries cannot earn its way back."""
    memory, current = at_peak(), FundMode.NORMAL
    for minute in range(0, 27 * 60, 5):
        found = view(equity="9000", time=START + minute * MINUTE_MS)
        decided, memory = mode(found, memory, current)
        current = decided or current
        if minute == 0:
            assert current is FundMode.CRITICAL
    assert current is FundMode.NORMAL


def test_wild_closes_make_the_fund_careful() -> None:
    memory = Memory()
    for minute in range(12):
        close = D(100) if minute % 2 else D(104)
        found = view(time=START + minute * MINUTE_MS, closes={"BTCUSDT": close})
        memory = observe(memory, found)
    assert volatility(memory.closes["BTCUSDT"]) > 0.03
    assert hfos.decide(found, memory, FundPolicy(), LIMITS)[0].mode is FundMode.CRITICAL  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("holding", "peak", "kind"),
    [
        (held(profit="1.2", minutes=10), "1.2", Kind.STRONG_TREND),
        (held(profit="0.2", minutes=30), "0.2", Kind.SLOW_GRINDER),
        (held(profit="0.1", minutes=90), "0.1", Kind.STALLING),
        (held(profit="0.4", minutes=30), "0.9", Kind.REVERSAL_RISK),
        (held(profit="-0.6", minutes=40), "0", Kind.TOXIC),
        (held(profit="-0.6", minutes=20), "0", Kind.REVERSAL_RISK),
        (held(profit="-0.1", minutes=20), "0", Kind.NEUTRAL),
    ],
)
def test_kinds_of_positions(holding: Holding, peak: str, kind: Kind) -> None:
    memory = Memory(positions={holding.position_id: Seen(peak_r=D(peak))})
    assert classify(holding, memory, START) is kind


@given(st.sampled_from(PositionSide), st.decimals("-3", 3, places=2), st.integers(1, 5))
def test_the_same_profit_is_the_same_kind_whatever_side_and_size(
    side: PositionSide, profit: Decimal, size: int
) -> None:
    """Incident 89: R does not depend on size."""
    one = held(profit=str(profit), side=PositionSide.LONG)
    two = held(profit=str(profit), side=side, notional=str(1000 * size))
    assert one.profit_r == two.profit_r
    assert classify(one, Memory(), START) is classify(two, Memory(), START)


SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT")
HOLDINGS = st.lists(
    st.tuples(
        st.sampled_from(SYMBOLS),
        st.decimals("-2", 3, places=1),
        st.integers(50, 40_000),
        st.sampled_from(PositionSide),
    ),
    max_size=5,
    unique_by=lambda t: t[0],
)


@given(HOLDINGS, st.integers(100, 30_000))
def test_balance_is_reached_by_what_it_asks_for(
    found: list[tuple[str, Decimal, int, PositionSide]], equity: int
) -> None:
    holdings = tuple(held(s, str(r), notional=str(usd), side=side) for s, r, usd, side in found)
    now, limits = view(*holdings, equity=str(equity)), pba.PbaLimits()
    kinds = classified(now, Memory())
    balance = pba.look(now, Memory(), kinds, limits, exactly=True)
    assert bool(balance.violations) is bool(balance.reductions)
    cut = {r.holding.position_id: r.share for r in balance.reductions}
    assert all(0 < share <= 1 for share in cut.values())
    rest = [replace(h, quantity=h.quantity * (1 - cut.get(h.position_id, D(0)))) for h in holdings]
    after = view(*[h for h in rest if h.quantity], equity=str(equity))
    again = pba.look(after, Memory(), classified(after, Memory()), limits)
    # reducing one side may leave the other one too large against it, never a share of itself
    assert all(text.startswith("net ") for text in again.violations)


def test_the_worst_kind_is_reduced_first() -> None:
    good = held("BTCUSDT", "1.5", notional="12000", minutes=20)
    bad = held("ETHUSDT", "-0.8", notional="12000", minutes=40)
    now = view(good, bad, equity="10000")
    limits = pba.PbaLimits(symbol_share=D(1), net_share=D(1), position_risk=D(1), total_risk=D(1))
    balance = pba.look(now, Memory(), classified(now, Memory()), limits)
    assert [r.holding.symbol for r in balance.reductions] == ["ETHUSDT"]
    assert "sector majors" in balance.reductions[0].reason


def test_what_moves_together_counts_as_one_bet() -> None:
    memory = Memory()
    for minute in range(25):
        close = D(100 + minute % 3)
        closes = {"BTCUSDT": close, "XRPUSDT": close * 2}
        memory = observe(memory, view(time=START + minute * MINUTE_MS, closes=closes))
    assert correlation(memory.closes["BTCUSDT"], memory.closes["XRPUSDT"]) == pytest.approx(1)
    now = view(held("BTCUSDT", notional="12000"), held("XRPUSDT", notional="12000"))
    limits = pba.PbaLimits(position_risk=D(1), total_risk=D(1))
    found = pba.look(now, memory, classified(now, memory), limits)
    assert any("correlated BTCUSDT, XRPUSDT" in v for v in found.violations)
    apart = replace(
        now, holdings=(now.holdings[0], held("XRPUSDT", notional="12000", side=PositionSide.SHORT))
    )
    found = pba.look(apart, memory, classified(apart, memory), limits)
    assert not any("correlated" in v for v in found.violations)


def test_a_reduced_position_rests_unless_a_person_asks() -> None:
    now = view(held(notional="40000"))
    memory = Memory(positions={"pos-BTCUSDT": Seen(reduced_at=START - MINUTE_MS)})
    kinds = classified(now, memory)
    assert not pba.look(now, memory, kinds, pba.PbaLimits()).reductions
    assert pba.look(now, memory, kinds, pba.PbaLimits(), exactly=True).reductions


@pytest.mark.parametrize(
    ("profit", "minutes", "action"),
    [
        ("2.1", 10, DirectiveAction.PARTIAL_TAKE_PROFIT),
        ("1.6", 10, DirectiveAction.SCALE_IN),
        ("1.1", 35, DirectiveAction.EXTEND_HOLD),
        ("1.1", 10, None),
        ("0.5", 50, None),
    ],
)
def test_what_is_made_of_a_winner(
    profit: str, minutes: int, action: DirectiveAction | None
) -> None:
    now = view(held(profit=profit, minutes=minutes))
    found = decide(now, Memory(), FundPolicy(), FundLimits())
    assert [d.action for d in found.directives] == ([action] if action else [])
    again = decide(replace(now, time=START + MINUTE_MS), found.memory, FundPolicy(), FundLimits())
    assert action not in [d.action for d in again.directives]


@pytest.mark.parametrize(
    ("policy", "blocker"),
    [
        (FundPolicy(fund_mode=FundMode.SAFE), "reduced"),
        (FundPolicy(system_mode=SystemMode.EMERGENCY), "brake"),
        (FundPolicy(fund_mode=FundMode.CRITICAL), "brake"),
    ],
)
def test_a_blocker_is_told_once_and_adds_nothing(policy: FundPolicy, blocker: str) -> None:
    now = view(held(profit="1.6", minutes=10))
    limits = FundLimits(hfos_enabled=False)
    found = decide(now, Memory(), policy, limits)
    assert not found.directives
    assert [a.blocked_by for a in found.amplifications] == [blocker]
    later = replace(now, time=START + MINUTE_MS)
    assert not decide(later, found.memory, policy, limits).amplifications


def test_a_full_portfolio_is_not_added_to() -> None:
    now = view(held(profit="1.6", notional="45000", minutes=10), equity="10000")
    memory = observe(Memory(), now)
    found = pal.look(
        now, memory, classified(now, memory), FundPolicy(), pal.PalLimits(), pba.PbaLimits()
    )
    assert [a.blocked_by for a in found] == ["budget"]


LAYERS = st.sampled_from(PRECEDENCE)


@given(st.lists(st.tuples(LAYERS, st.sampled_from(DirectiveAction), st.integers(1, 3))))
def test_one_order_of_layers_decides(found: list[tuple[Layer, DirectiveAction, int]]) -> None:
    now = view(held(profit="2.1"))
    template = decide(now, Memory(), FundPolicy(), FundLimits()).directives[0]
    made = [
        replace(
            template,
            directive_id=f"{n}",
            layer=layer,
            action=action,
            position_id=f"pos-{place}",
        )
        for n, (layer, action, place) in enumerate(found)
    ]
    kept = resolved(made)
    assert len({d.position_id for d in kept}) == len(kept) == len({d.position_id for d in made})
    for directive in kept:
        rivals = [d for d in made if d.position_id == directive.position_id]
        assert directive.layer is min((d.layer for d in rivals), key=PRECEDENCE.index)


def test_a_mode_that_begins_reduces_winners_too_and_one_that_ends_does_not() -> None:
    winner = held(profit="2.1", minutes=10)
    found = decide(view(winner, equity="9000"), at_peak(), FundPolicy(), FundLimits())
    assert found.mode is not None and found.mode.mode is FundMode.CRITICAL
    (directive,) = found.directives
    assert (directive.layer, directive.action) == (Layer.HFOS, DirectiveAction.REDUCE)
    assert directive.share == D("0.5")
    assert directive.effective_from == START + 1 and directive.deadline > START + MINUTE_MS
    memory, policy = found.memory, FundPolicy(fund_mode=FundMode.CRITICAL)
    calm = None
    for hour in range(1, 40):
        now = view(held(now=START), equity="10000", time=START + 25 * HOUR_MS + hour * MINUTE_MS)
        calm = decide(now, memory, policy, FundLimits(pal_enabled=False))
        memory = calm.memory
        if calm.mode is not None:
            break
    assert calm is not None and calm.mode is not None and calm.mode.mode is FundMode.SAFE
    assert not [d for d in calm.directives if d.layer is Layer.HFOS]


def test_in_an_emergency_of_health_nothing_is_added() -> None:
    now = view(held(profit="1.6", minutes=10), health=10)
    found = decide(now, Memory(), FundPolicy(), FundLimits())
    assert [d.action for d in found.directives] == [DirectiveAction.REDUCE]


def test_a_layer_that_is_off_decides_nothing() -> None:
    off = FundLimits(hfos_enabled=False, pba_enabled=False, pal_enabled=False)
    now = view(held(profit="2.1", notional="60000"), equity="1000")
    for limits, policy in (
        (off, FundPolicy()),
        (FundLimits(), FundPolicy(hfos_enabled=False, pba_enabled=False, pal_enabled=False)),
    ):
        found = decide(now, at_peak(), policy, limits)
        assert found.mode is None and not found.directives and found.balance is None
    asked = decide(now, at_peak(), FundPolicy(pba_enabled=False), off, asked=True)
    assert asked.balance is not None and asked.directives


@given(HOLDINGS, st.integers(5_000, 12_000), st.integers(0, 100))
def test_the_same_round_decides_the_same(
    found: list[tuple[str, Decimal, int, PositionSide]], equity: int, health: int
) -> None:
    holdings = [held(s, str(r), notional=str(usd), side=side) for s, r, usd, side in found]
    one = decide(
        view(*holdings, equity=str(equity), health=health), at_peak(), FundPolicy(), FundLimits()
    )
    two = decide(
        view(*holdings, equity=str(equity), health=health), at_peak(), FundPolicy(), FundLimits()
    )
    assert one == two
    assert all(0 < d.share <= 1 for d in one.directives)
    assert len({d.directive_id for d in one.directives}) == len(one.directives)
