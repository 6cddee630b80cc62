"""Safety levels, drawdown and what pulls the emergency stop by itself."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.rules import blocked_by
from services.trade.order import OrderPurpose, OrderState, Side
from services.trade.position import SafetyLevel, TradingState
from tests.unit.exec_risk.account_desk import MINUTE, START, Desk, report, signal_of

D = Decimal
ENTRY, EXIT, STOP = OrderPurpose.ENTRY, OrderPurpose.EXIT, OrderPurpose.STOP_LOSS
NORMAL, CAUTIOUS = SafetyLevel.NORMAL, SafetyLevel.CAUTIOUS
DEFENSIVE, EMERGENCY = SafetyLevel.DEFENSIVE, SafetyLevel.EMERGENCY


def trade(desk: Desk, move: Decimal, symbol: str = "BTCUSDT") -> None:
    """Open a position and close it `move` USD away, four minutes later."""
    entry = desk.open(symbol)
    desk.fill(desk.placed(STOP)[-1], price=D(100) + move)
    for order in desk.book.live_orders():
        desk.tell(report(order, OrderState.CANCELED))
    assert entry.symbol not in desk.book.positions
    desk.time += 4 * MINUTE


def level(desk: Desk) -> SafetyLevel:
    """The safety level in force."""
    return desk.book.safety


def test_losses_in_a_row_make_careful_then_block_then_relax() -> None:
    """Five losses: three quarters; eight: no entries for a while; then one level at a time."""
    desk = Desk()
    symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    for number in range(8):
        assert level(desk) is (NORMAL if number < 5 else CAUTIOUS)
        desk.book.leverage = dict.fromkeys(symbols, 3 if number >= 5 else 5)
        trade(desk, D("-0.5"), symbols[number % 3])
    assert (level(desk), blocked_by(desk.book)) == (EMERGENCY, "safety_level")
    assert desk.book.safety_since == desk.time - 4 * MINUTE
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    assert [e.rule for e in desk.effects if isinstance(e, fx.RiskDecided)][-1] == "safety_level"
    seen = []
    for _ in range(45):
        desk.time += MINUTE
        desk.round()
        seen.append(level(desk))
    assert sorted(set(seen), key=seen.index) == [EMERGENCY, DEFENSIVE, CAUTIOUS]
    assert seen[-1] is CAUTIOUS, "the row of losses still stands"
    desk.book.leverage = dict.fromkeys(symbols, 3)
    trade(desk, D(1))
    for _ in range(15):
        desk.time += MINUTE
        desk.round()
    assert level(desk) is NORMAL
    changes = [(e.previous, e.level) for e in desk.effects if isinstance(e, fx.SafetyLevelChanged)]
    assert changes == [
        (NORMAL, CAUTIOUS),
        (CAUTIOUS, EMERGENCY),
        (EMERGENCY, DEFENSIVE),
        (DEFENSIVE, CAUTIOUS),
        (CAUTIOUS, NORMAL),
    ]


@pytest.mark.parametrize(
    ("loss", "expected", "gate"),
    [
        (499, NORMAL, ""),
        (500, CAUTIOUS, ""),
        (799, CAUTIOUS, ""),
        (800, DEFENSIVE, ""),
        (1000, DEFENSIVE, "daily_drawdown"),
        (1500, DEFENSIVE, "emergency_latch"),
    ],
)
def test_levels_by_the_days_loss(loss: int, expected: SafetyLevel, gate: str) -> None:
    """5 % careful, 8 % defensive, 10 % no entries today, 15 % of the highest: emergency stop."""
    desk = Desk()
    desk.round()
    desk.book.wallet = D(10_000 - loss)
    desk.time += MINUTE
    desk.round()
    assert (level(desk), blocked_by(desk.book)) == (expected, gate)


def test_size_and_exposure_shrink_with_the_level() -> None:
    sizes = {}
    for found in (NORMAL, CAUTIOUS, DEFENSIVE):
        desk = Desk()
        desk.book.safety, desk.book.safety_since = found, START + MINUTE
        desk.round(signal_of("BTCUSDT", Side.BUY, desk.time, 0.32))
        (decided,) = [e for e in desk.effects if isinstance(e, fx.RiskDecided)]
        sizes[found] = decided.notional or D(0)
    assert sizes[CAUTIOUS] == sizes[NORMAL] * D("0.75")
    assert sizes[DEFENSIVE] == sizes[NORMAL] * D("0.5")


def test_the_loss_of_15_percent_closes_everything_by_itself() -> None:
    """EMERGENCY_STOP_THRESHOLD_PERCENT: measured from the highest equity, over days."""
    desk = Desk()
    desk.open()
    desk.book.high_water = D(12_000)
    desk.time += 24 * 60 * MINUTE
    desk.round()
    (stopped,) = [e for e in desk.effects if isinstance(e, fx.EmergencyStopped)]
    assert stopped.latch.by == "equity_drawdown" and stopped.drawdown is not None
    assert stopped.drawdown >= D("0.15") and "limit 0.15" in stopped.latch.reason
    assert desk.placed(EXIT) and desk.book.trading_state is TradingState.HALTED


def test_between_rounds_the_moment_that_is_complete_is_judged() -> None:
    """Prices of one moment are judged together, once the next one begins."""
    desk = Desk()
    desk.open("BTCUSDT", Side.BUY)
    desk.time += MINUTE
    desk.open("ETHUSDT", Side.SELL)
    desk.book.high_water = desk.book.wallet
    quantity = desk.book.positions["BTCUSDT"].quantity
    fall = D(1600) / quantity
    desk.tell(ex.PriceReport("BTCUSDT", desk.time + 1000, D(100) - fall))
    desk.tell(ex.PriceReport("ETHUSDT", desk.time + 1000, D(100) - fall))
    assert desk.book.latch is None
    desk.tell(ex.PriceReport("ETHUSDT", desk.time + 2000, D(100)))
    assert desk.book.latch is None, "the hedge was worth as much"
    desk.tell(ex.PriceReport("ETHUSDT", desk.time + 3000, D(100)))
    assert desk.book.latch is not None


@pytest.mark.parametrize(("cause", "latched"), [("WITHDRAW", False), ("INSURANCE_CLEAR", True)])
def test_money_taken_away_is_no_loss(cause: str, latched: bool) -> None:
    desk = Desk()
    desk.round()
    desk.tell(ex.WalletReport(D(5_000), desk.time, cause))
    desk.time += MINUTE
    desk.round()
    assert (desk.book.latch is not None) == latched
    assert blocked_by(desk.book) == ("emergency_latch" if latched else "")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.decimals("5000", "20000", places=0), min_size=1, max_size=30))
def test_the_highest_equity_only_rises(wallets: list[Decimal]) -> None:
    desk = Desk(Policy())
    highest = D(0)
    for wallet in wallets:
        desk.time += MINUTE
        desk.book.wallet = wallet
        desk.round()
        highest = max(highest, wallet)
        assert desk.book.high_water == highest
        assert (desk.book.latch is not None) >= (wallet <= highest * D("0.85"))
