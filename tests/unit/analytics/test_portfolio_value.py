"""Value of the account at the last closes, and results by day."""

from __future__ import annotations

from decimal import Decimal

from services.analytics.core.ledger import RoundFact, WalletFact
from services.analytics.core.performance import Result, total
from services.analytics.core.portfolio import Anchor, Mark, anchor_of, merge_marks, value
from services.trade.position import Position, PositionSide


def round_at(time: int, wallet: str | None, closes: dict[str, str], sequence: int = 0) -> RoundFact:
    """A decided round."""
    return RoundFact(
        account="main",
        time=time,
        wallet_balance=None if wallet is None else Decimal(wallet),
        closes=tuple((s, Decimal(p)) for s, p in closes.items()),
        sequence=sequence,
    )


def position(side: PositionSide, *, opened: int = 0) -> Position:
    """Two coins held at 100."""
    return Position(
        position_id="p",
        account="main",
        symbol="BTCUSDT",
        side=side,
        opened_time=opened,
        leverage=1,
        entry_quantity=Decimal(2),
        entry_cost=Decimal(200),
    )


def known(fact: RoundFact | WalletFact) -> Anchor:
    """The wallet that a fact tells."""
    anchor = anchor_of(fact)
    assert anchor is not None
    return anchor


def test_value_is_the_futures_wallet_plus_unrealised_profit() -> None:
    """Incident 86: equity is the wallet plus unrealised PnL, of either sign."""
    anchor = known(round_at(60, "1000", {}))
    marks = {("main", "BTCUSDT"): Mark(Decimal(90), 60)}
    long = value([anchor], {}, [position(PositionSide.LONG)], marks)
    short = value([anchor], {}, [position(PositionSide.SHORT)], marks)
    assert (long.unrealized_pnl, long.total_value) == (Decimal(-20), Decimal(980))
    assert (short.unrealized_pnl, short.total_value) == (Decimal(20), Decimal(1020))
    assert long.time == 60


def test_a_position_has_no_mark_before_the_first_round_after_its_entry() -> None:
    marks = {("main", "BTCUSDT"): Mark(Decimal(90), 60)}
    valued = value([], {}, [position(PositionSide.LONG, opened=60)], marks)
    assert valued.positions[0].mark is None
    assert valued.unrealized_pnl == 0


def test_what_moved_after_the_round_is_in_the_value() -> None:
    anchor = known(round_at(60, "1000", {}))
    assert value([anchor], {"main": Decimal("-3.5")}, [], {}).total_value == Decimal("996.5")


def test_nothing_known_is_worth_nothing() -> None:
    """Incident 88: no made-up equity."""
    assert value([], {}, [], {}).total_value == 0


def test_a_round_counts_before_any_snapshot_and_the_later_before_the_earlier() -> None:
    first, second = known(round_at(60, "1", {})), known(round_at(120, "2", {}))
    snapshot = known(WalletFact("main", 180, Decimal(3)))
    assert second.supersedes(first) and not first.supersedes(second)
    assert first.supersedes(snapshot) and not snapshot.supersedes(first)
    assert snapshot.supersedes(None)


def test_a_round_without_a_wallet_still_marks() -> None:
    fact = round_at(60, None, {"BTCUSDT": "5"})
    assert anchor_of(fact) is None
    assert merge_marks({}, fact) == {("main", "BTCUSDT"): Mark(Decimal(5), 60)}


def test_marks_are_merged_by_symbol_and_never_go_back() -> None:
    marks = {("main", "A"): Mark(Decimal(1), 120), ("main", "B"): Mark(Decimal(1), 60)}
    changed = merge_marks(marks, round_at(90, "1", {"A": "2", "B": "2", "C": "2"}))
    assert set(changed) == {("main", "B"), ("main", "C")}


def test_the_total_is_the_sum_of_the_days() -> None:
    days = [
        Result("2025-05-02", Decimal(10), Decimal(1), Decimal("-0.5"), 3, 1, True),
        Result("2025-05-01", Decimal(-4), Decimal(2), Decimal(0), 1, 1),
    ]
    assert days[0].net == Decimal("8.5")
    whole = total(days)
    assert (whole.day, whole.net, whole.trades, whole.wins) == ("total", Decimal("2.5"), 4, 2)
    assert whole.win_rate == 0.5
    assert whole.in_sample
    assert total([]).win_rate == 0.0
