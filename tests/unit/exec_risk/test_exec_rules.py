"""Each rule refuses by its name, the strictest gate is named, and exits pass them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.account.results import ClosedTrade
from services.exec_risk.core.market import Quote
from services.exec_risk.core.policy import Gates, Policy
from services.exec_risk.core.protection.protection_policy import ProtectionPolicy
from services.exec_risk.core.risk.risk_policy import RiskPolicy
from services.exec_risk.core.risk.safety import MULTIPLIERS
from services.exec_risk.core.rules import RULES, blocked_by
from services.trade.order import OrderPurpose, OrderState, Side
from services.trade.position import SafetyLevel, TradingState
from tests.unit.exec_risk.account_desk import MINUTE, START, Desk, filters_of, signal_of

D = Decimal
ENTRY, EXIT, STOP = OrderPurpose.ENTRY, OrderPurpose.EXIT, OrderPurpose.STOP_LOSS
CLOSE = ProtectionPolicy(max_stop_fraction=D("0.005"), fixed_stop_fraction=D("0.005"))
LATCH = fx.Latch("drill", "operator", START)


def risk(**limits: Any) -> Policy:
    """A policy with these risk limits."""
    return Policy(risk=RiskPolicy(**limits), cooldown_ms=0)


def rule_of(desk: Desk, side: Side = Side.BUY, atr: str = "0.004") -> str:
    """Judge a signal of BTCUSDT and return the rule that decided."""
    desk.time += MINUTE
    desk.round(signal_of("BTCUSDT", side, desk.time, atr=atr))
    return [e.rule for e in desk.effects if isinstance(e, fx.RiskDecided)][-1]


def lose(desk: Desk, count: int, symbol: str = "BTCUSDT") -> None:
    """Add losing trades of a symbol, a minute apart."""
    for number in range(count):
        time = desk.time + number * 1000
        desk.book.results.add(ClosedTrade(time, f"lost-{number}", symbol, D(-1), D(100)))


def test_every_rule_has_its_own_name_and_a_shown_limit() -> None:
    names = [rule.name for rule in RULES]
    assert len(names) == len(set(names))
    policy = Policy()
    unshown = {r.name for r in RULES if not r.limit(policy) and not r.source}
    assert not unshown


def test_symbol_rests_after_losses_in_a_row_until_the_utc_day_ends() -> None:
    """Incident 90: a symbol that only costs is left alone; the next UTC day it may again."""
    desk = Desk(risk(max_symbol_losses=3, cautious_losses=99, emergency_losses=99))
    lose(desk, 2)
    assert rule_of(desk, Side.BUY) == "approved"
    desk = Desk(risk(max_symbol_losses=3, cautious_losses=99, emergency_losses=99))
    lose(desk, 3)
    assert rule_of(desk) == "symbol_losses"
    desk.time += 24 * 60 * MINUTE
    assert rule_of(desk) == "approved"


def test_orders_a_minute_counts_entries_of_one_round() -> None:
    desk = Desk(risk(max_orders_per_minute=2))
    desk.round(*(signal_of(s, Side.BUY, desk.time) for s in desk.book.filters))
    assert [e.rule for e in desk.effects if isinstance(e, fx.RiskDecided)] == [
        "approved",
        "approved",
        "orders_per_minute",
    ]
    assert rule_of(desk) == "order_pending"
    desk.time += MINUTE
    desk.round(signal_of("SOLUSDT", Side.BUY, desk.time))
    assert [e.rule for e in desk.effects if isinstance(e, fx.RiskDecided)][-1] == "approved"


def test_trades_a_day_count_what_opened_and_what_is_on_its_way() -> None:
    """Incidents 52 and 92: a refused entry gives its place back; the next UTC day starts at 0."""
    desk = Desk(risk(max_trades_per_day=1))
    desk.round(signal_of("ETHUSDT", Side.BUY, desk.time))
    assert rule_of(desk) == "trades_per_day"
    desk.refuse(desk.placed(ENTRY)[0], "-2019")
    assert rule_of(desk) == "approved"
    desk.fill(desk.placed(ENTRY)[-1])
    assert sol(desk) == "trades_per_day"
    desk.time += 24 * 60 * MINUTE
    assert sol(desk) == "approved"


def sol(desk: Desk) -> str:
    """Judge a signal of SOLUSDT and return the rule that decided."""
    desk.time += MINUTE
    desk.round(signal_of("SOLUSDT", Side.BUY, desk.time))
    return [e.rule for e in desk.effects if isinstance(e, fx.RiskDecided)][-1]


def test_failed_entries_close_the_account_for_a_while() -> None:
    """Incident 48: a loop of refusals ends by itself, and the account opens again later."""
    desk = Desk(risk(max_execution_errors=3, max_orders_per_minute=99))
    for _ in range(3):
        assert rule_of(desk) == "approved"
        desk.refuse(desk.placed(ENTRY)[-1], "-2019")
    assert rule_of(desk) == "execution_errors"
    desk.time += 15 * MINUTE
    assert rule_of(desk) == "approved"


@pytest.mark.parametrize(
    ("rate", "side", "rule"),
    [
        ("0.0010", Side.BUY, "funding"),
        ("0.0010", Side.SELL, "approved"),
        ("-0.0010", Side.SELL, "funding"),
        ("0.0009", Side.BUY, "approved"),
    ],
)
def test_the_side_that_pays_much_funding_does_not_enter(rate: str, side: Side, rule: str) -> None:
    """Incident 93: funding is part of the cost of an entry, by its side."""
    desk = Desk()
    desk.tell(
        ex.PriceReport("BTCUSDT", desk.time + MINUTE, D(100), D("99.99"), D("100.01"), D(rate))
    )
    assert rule_of(desk, side) == rule
    warned = [e for e in desk.effects if isinstance(e, fx.Alert) and e.alert_type == "FUNDING_HIGH"]
    assert bool(warned) == (rate == "0.0009")


def test_a_wide_spread_refuses_and_an_unknown_one_only_where_it_is_told() -> None:
    desk = Desk()
    desk.tell(ex.PriceReport("BTCUSDT", desk.time + MINUTE, D(100), D("99.8"), D("100.1"), D(0)))
    assert rule_of(desk) == "spread"
    assert rule_of(Desk()) == "approved"
    live = Desk(Policy(venue="live"))
    signal = replace(signal_of("BTCUSDT", Side.BUY, live.time), venue="live")
    live.round(signal)
    assert [e.rule for e in live.effects if isinstance(e, fx.RiskDecided)] == ["spread"]


@pytest.mark.parametrize("more", [0, 1])
def test_a_price_that_is_older_than_its_limit_refuses(more: int) -> None:
    desk = Desk()
    known = START - desk.book.policy.max_price_age_ms - more
    desk.tell(ex.PriceReport("BTCUSDT", known, D(100), None, None, None))
    desk.tell(ex.PointReached(1, START, ("BTCUSDT",)))
    signal = signal_of("BTCUSDT", Side.BUY, START)
    desk.tell(inputs.PredictionsArrived((inputs.Prediction("BTCUSDT", "1m", START, signal),)))
    # what refuses after that is that no volume is known
    rule = "price" if more else "slippage"
    assert [e.rule for e in desk.effects if isinstance(e, fx.RiskDecided)] == [rule]


def test_a_quote_that_is_old_is_not_known() -> None:
    desk = Desk(Policy(venue="live"))
    desk.book.quotes["BTCUSDT"] = Quote(START - 6 * MINUTE, D(100), D(100), D(0))
    desk.round(replace(signal_of("BTCUSDT", Side.BUY, desk.time), venue="live"))
    assert [e.rule for e in desk.effects if isinstance(e, fx.RiskDecided)] == ["spread"]


def test_what_a_report_leaves_out_stays_known() -> None:
    desk = Desk()
    desk.tell(ex.PriceReport("BTCUSDT", START, D(100), D(99), D(101), D("0.0001")))
    desk.tell(ex.PriceReport("BTCUSDT", START + 1, D(100), None, D(102), None))
    desk.tell(ex.PriceReport("BTCUSDT", START, D(1), D(1), D(1), D(1)))
    assert desk.book.quotes["BTCUSDT"] == Quote(START + 1, D(99), D(102), D("0.0001"))


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        (risk(max_net_share=D("0.0001")), "net_exposure"),
        (risk(max_symbol_share=D("0.0001")), "symbol_share"),
        (risk(max_cluster_share=D("0.0001")), "cluster_share"),
        (risk(max_volatility=D("0.003")), "volatility"),
        (replace(risk(), protection=CLOSE), "protection"),
        (risk(liquidation_factor=D(200)), "leverage"),
    ],
)
def test_limits_refuse_by_their_names(policy: Policy, rule: str) -> None:
    assert rule_of(Desk(policy)) == rule


def test_a_cluster_shares_one_limit_and_another_has_its_own() -> None:
    clusters = {"BTCUSDT": "a", "ETHUSDT": "a", "SOLUSDT": "b"}
    desk = Desk(risk(max_cluster_share=D("0.05"), clusters=clusters))
    desk.round(*(signal_of(s, Side.BUY, desk.time) for s in clusters))
    decided = {e.symbol: e.rule for e in desk.effects if isinstance(e, fx.RiskDecided)}
    assert decided == {
        "BTCUSDT": "approved",
        "ETHUSDT": "cluster_share",
        "SOLUSDT": "approved",
    }


def test_liquidation_stays_behind_the_stop() -> None:
    """A leverage whose liquidation the stop does not clear is lowered."""
    policy = replace(risk(liquidation_factor=D(3)), leverage=20)
    desk = Desk(policy)
    desk.book.leverage.clear()
    rule_of(desk, atr="0.02")
    (asked,) = desk.of(fx.SetLeverage)
    assert isinstance(asked, fx.SetLeverage)
    # 1 / leverage - 1 / 40 has to be at least 3 times 0.04
    assert asked.leverage == 6
    desk.tell(inputs.ValidateEntry("v", "ETHUSDT", Side.BUY, D(100), 20))
    answer = [e for e in desk.effects if isinstance(e, fx.Answer)][-1]
    assert answer.result["rule"] == "approved", "the least stop is near enough for 20 times"


@given(st.integers(1, 125), st.integers(1, 125), st.integers(1, 125), st.sampled_from(SafetyLevel))
def test_leverage_is_the_least_of_all_caps(
    env: int, exchange: int, wanted: int, level: SafetyLevel
) -> None:
    """Incident 35: the least of all sources is the cap; 0 times never means the original."""
    desk = Desk(Policy(max_leverage=env, leverage=wanted))
    desk.book.filters["BTCUSDT"] = replace(filters_of("BTCUSDT"), max_leverage=exchange)
    desk.book.safety, desk.book.safety_since = level, desk.time + 10 * MINUTE
    rule = rule_of(desk)
    if level is SafetyLevel.EMERGENCY:
        assert rule == "safety_level" and not desk.book.live_orders()
        return
    for plan in desk.book.plans.values():
        assert 1 <= plan.leverage <= min(env, exchange, wanted)
        assert plan.leverage <= max(wanted * MULTIPLIERS[level].leverage, D(1))


GATED: dict[str, Callable[[Desk], None]] = {
    "emergency_latch": lambda d: setattr(d.book, "latch", LATCH),
    "trading_enabled": lambda d: setattr(
        d.book, "policy", replace(d.book.policy, trading_enabled=False)
    ),
    "trading_state": lambda d: setattr(d.book, "trading_state", TradingState.REDUCING),
    "drain": lambda d: setattr(d.book, "gates", replace(d.book.gates, draining=True)),
    "maintenance": lambda d: setattr(d.book, "gates", replace(d.book.gates, maintenance=True)),
    "exchange": lambda d: setattr(d.book, "connected", False),
    "equity": lambda d: setattr(d.book, "wallet", None),
    "equity_drawdown": lambda d: setattr(d.book, "high_water", D(100_000)),
    "daily_drawdown": lambda d: setattr(d.book.day(d.time), "start_equity", D(100_000)),
    "safety_level": lambda d: setattr(d.book, "safety", SafetyLevel.EMERGENCY),
}
"""What closes each gate, the strictest first."""


@pytest.mark.parametrize("name", GATED)
def test_each_gate_is_the_reason_of_its_refusal(name: str) -> None:
    """Incidents 121 and 122: a closed gate blocks entries, and its name is the reason."""
    desk = Desk()
    desk.round()
    assert blocked_by(desk.book) == ""
    GATED[name](desk)
    assert blocked_by(desk.book) == name


@settings(max_examples=100, deadline=None)
@given(closed=st.sets(st.sampled_from(list(GATED))), how=st.sampled_from(["signal", "ask", "time"]))
def test_exits_pass_in_full_whatever_is_closed(closed: set[str], how: str) -> None:
    """Incidents 15, 16, 122: no combination of switches delays or resizes an exit or a stop."""
    desk = Desk()
    entry = desk.open()
    desk.round(signal_of("ETHUSDT", Side.BUY, desk.time + MINUTE))
    waiting = [o for o in desk.placed(ENTRY) if o.symbol == "ETHUSDT"]
    for name in GATED:
        if name in closed:
            GATED[name](desk)
    order = [name for name in GATED if name in closed]
    assert blocked_by(desk.book) == (order[0] if order else "")
    stops = len(desk.placed(STOP))
    for order_ in waiting:
        desk.fill(order_)
    assert len(desk.placed(STOP)) == stops + len(waiting), "a late fill is protected in its step"
    desk.time += MINUTE if how == "signal" else 60 * MINUTE
    if how == "ask":
        desk.tell(inputs.ClosePosition("r", "BTCUSDT"))
    else:
        side = Side.SELL if how == "signal" else None
        desk.round(*([signal_of("BTCUSDT", side, desk.time)] if side else []))
    exits = [o for o in desk.placed(EXIT) if o.symbol == "BTCUSDT"]
    assert [o.quantity for o in exits] == [entry.quantity]
    assert exits[0].state is OrderState.SUBMITTED


def test_a_gate_that_closes_before_the_leverage_is_set_withdraws_the_entry() -> None:
    """Incident 122: what was decided before is not sent after."""
    desk = Desk()
    desk.book.leverage.clear()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    desk.tell(inputs.GatesChanged(Gates(maintenance=True)))
    desk.tell(inputs.LeverageAnswered("BTCUSDT", 5))
    assert not desk.placed() and not desk.book.live_orders()


def test_a_refused_entry_is_not_sent_again_behind_a_closed_gate() -> None:
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    desk.tell(inputs.GatesChanged(Gates(draining=True)))
    desk.refuse(desk.placed(ENTRY)[0], "-1003", retryable=True)
    assert len(desk.placed(ENTRY)) == 1
