"""What the dashboards of trading and risk divide is shown as it is."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.exec_risk.core import effects as fx
from services.exec_risk.counters import Counters
from services.kit.observe.metrics import Metrics
from services.trade.position import ExitReason, Position, PositionSide, TradingState

D = Decimal
ZERO = D(0)
AMOUNTS = st.decimals(-5_000, 5_000, places=2)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    found = registry.get_sample_value(f"exec_risk_service_{name}", labels)
    assert found is not None
    return found


def snapshot(
    wallet: Decimal | None, unrealized: Decimal = ZERO, peak: Decimal | None = None
) -> fx.AccountSnapshot:
    return fx.AccountSnapshot(
        time=1,
        wallet_balance=wallet,
        unrealized_pnl=unrealized,
        available_balance=wallet,
        gross_exposure=D(300),
        daily_pnl=D("-1.5"),
        daily_trades=2,
        open_positions=1,
        trading_state=TradingState.ACTIVE,
        last_round=0,
        in_sample=False,
        high_water=peak,
    )


@given(st.decimals(1, 9_000, places=2), AMOUNTS, st.none() | st.decimals(0, 9_000, places=2))
def test_equity_never_lies_above_its_peak(
    wallet: Decimal, unrealized: Decimal, peak: Decimal | None
) -> None:
    metrics = Metrics("exec_risk_service")
    Counters(metrics).count([snapshot(wallet, unrealized, peak)])
    equity = value(metrics.registry, "equity_usd")
    assert equity == float(wallet + unrealized)
    assert value(metrics.registry, "equity_peak_usd") == max(equity, float(peak or equity))
    assert value(metrics.registry, "exposure_usd") == 300


def test_an_unknown_wallet_changes_no_equity() -> None:
    metrics = Metrics("exec_risk_service")
    counters = Counters(metrics)
    counters.count([snapshot(D(1_000)), snapshot(None)])
    assert value(metrics.registry, "equity_usd") == 1_000


@given(st.lists(AMOUNTS, max_size=12))
def test_a_position_is_won_when_it_earned_something_after_costs(profits: list[Decimal]) -> None:
    metrics = Metrics("exec_risk_service")
    counters = Counters(metrics)
    for profit in profits:
        position = Position(
            "p", "main", "BTCUSDT", PositionSide.LONG, 1, 2,
            entry_quantity=D(1), entry_cost=D(10_000),
            exit_quantity=D(1), exit_cost=D(10_000) + profit + 1, commission=D(1),
            closed_time=2, exit_reason=ExitReason.STOP_LOSS,
        )  # fmt: skip
        counters.count([fx.PositionClosed(position)])
    won = value(metrics.registry, "positions_won_total")
    assert won == sum(profit > 0 for profit in profits)
    closed = value(metrics.registry, "positions_closed_total", reason="STOP_LOSS")
    assert closed == len(profits)
