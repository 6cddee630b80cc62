"""The breaker that takes a promoted model back in its first day."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.core.learning.promotion_watch import (
    BreakerRule,
    Decision,
    Outcome,
    Promotion,
    judge,
)

HOUR = 3_600_000
START = 1_750_000_000_000
PROMOTION = Promotion("new", START)
END = START + 24 * HOUR


def trade(number: int, r: str | None, *, pnl: str | None = None, at: int = 0) -> Outcome:
    closed = at or START + number * 60_000
    net = Decimal(pnl if pnl is not None else r or "0")
    return Outcome(f"p{number}", "new", START, closed, net, None if r is None else Decimal(r))


def trades(*results: str) -> list[Outcome]:
    return [trade(number, r) for number, r in enumerate(results, start=1)]


def test_ten_bad_trades_send_it_back() -> None:
    """Incident 105: a promoted model that is worse does not stay."""
    verdict = judge(PROMOTION, trades(*["-1"] * 6, *["0.5"] * 4), START + HOUR)
    assert verdict.decision is Decision.ROLL_BACK
    assert (verdict.trades, verdict.win_rate) == (10, Decimal("0.4"))
    assert "-0.40 R is below -0.3 R" in verdict.reason


def test_few_winners_send_it_back_though_they_pay() -> None:
    verdict = judge(PROMOTION, trades(*["-0.1"] * 7, *["2"] * 3), START + HOUR)
    assert verdict.decision is Decision.ROLL_BACK
    assert "win rate 30%" in verdict.reason


@pytest.mark.parametrize("results", [["-0.3"] * 10 + ["-0.3", "-0.3"], ["1"] * 7 + ["-1"] * 13])
def test_at_the_limit_it_stays(results: list[str]) -> None:
    """-0.3 R and 35 % are not below themselves."""
    rule = BreakerRule(least_trades=len(results), least_win_rate=Decimal("0.35"))
    if results[0] == "-0.3":
        rule = replace(rule, least_win_rate=Decimal(0))
    assert judge(PROMOTION, trades(*results), START + HOUR, rule).decision is Decision.WATCH


def test_nine_trades_say_nothing_and_a_day_later_it_stays() -> None:
    nine = trades(*["-5"] * 9)
    assert judge(PROMOTION, nine, END - 1).decision is Decision.WATCH
    kept = judge(PROMOTION, nine, END)
    assert kept.decision is Decision.KEEP
    assert kept.trades == 9


def test_trades_of_others_before_and_after_do_not_count() -> None:
    bad = trades(*["-1"] * 10)
    others = [replace(o, model_version="old") for o in bad]
    before = [replace(o, opened_at=START - 1) for o in bad]
    after = [replace(o, closed_at=END + 1) for o in bad]
    for found in (others, before, after):
        assert judge(PROMOTION, found, END + HOUR).trades == 0


def test_trades_of_unknown_risk_count_for_the_win_rate_alone() -> None:
    found = [trade(n, None, pnl="-1") for n in range(1, 11)]
    verdict = judge(PROMOTION, found, START + HOUR)
    assert verdict.decision is Decision.ROLL_BACK
    assert verdict.average_r == 0


results = st.lists(
    st.decimals(min_value=-3, max_value=3, places=2, allow_nan=False), max_size=40
).map(lambda found: [trade(n, str(r)) for n, r in enumerate(found, start=1)])


@given(results, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_changes_the_verdict(
    found: list[Outcome], random: object
) -> None:
    mixed = found + found
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert judge(PROMOTION, mixed, END) == judge(PROMOTION, found, END)


@given(results, st.integers(0, 40), st.integers(0, 40))
def test_what_was_bad_once_is_bad_whenever_it_is_asked(
    found: list[Outcome], first: int, later: int
) -> None:
    early = judge(PROMOTION, found, START + first * 60_000)
    late = judge(PROMOTION, found, START + (first + later) * 60_000)
    if early.decision is Decision.ROLL_BACK:
        assert late == early


@given(results)
def test_it_goes_back_exactly_when_some_prefix_is_bad(found: list[Outcome]) -> None:
    def bad(part: list[Outcome]) -> bool:
        average = sum((o.r for o in part if o.r is not None), Decimal(0)) / len(part)
        wins = sum(o.net_pnl > 0 for o in part)
        return average < Decimal("-0.3") or Decimal(wins) / len(part) < Decimal("0.35")

    expected = any(bad(found[:n]) for n in range(10, len(found) + 1))
    assert (judge(PROMOTION, found, END).decision is Decision.ROLL_BACK) == expected
