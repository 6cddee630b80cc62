"""What predictions would have earned is counted as an account would count it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from services.lab.training.baselines import ALWAYS_HOLD
from services.lab.training.data import Inputs, Rows
from services.lab.training.trades import read_funding, trade
from services.lab.training.walk_forward import Measured

HOUR = 3_600_000
COST = 0.0012


def measured(confidence: list[float], moves: list[float], *, up: bool = True) -> Measured:
    """One row an hour of one symbol; the first half is fold 0, the second fold 1."""
    count = len(confidence)
    other = [(1 - c) / 2 for c in confidence]
    sides = (other, other, confidence) if up else (confidence, other, other)
    nothing = np.zeros((count, 1), dtype=np.float32)
    rows = Rows(
        Inputs(nothing, nothing, nothing),
        nothing[:, 0],
        np.zeros(count, dtype=np.int64),
        np.array(moves),
        HOUR * np.arange(count, dtype=np.int64),
        np.full(count, "AAAUSDT"),
    )
    fold = (np.arange(count) >= count // 2).astype(np.int64)
    probabilities = np.stack(sides, axis=1)
    return Measured(rows, fold, {"model": probabilities, ALWAYS_HOLD: probabilities})


CONFIDENCE = [0.4, 0.5, 0.6, 0.7, 0.61, 0.72, 0.75, 0.3]
MOVES = [0.0, 0.0, 0.0, 0.0, 0.9, 0.01, 0.02, 0.9]


def test_the_gate_knows_only_the_fold_before() -> None:
    found = trade(measured(CONFIDENCE, MOVES), "model", 0.25, HOUR, COST, {})
    assert found.rows.tolist() == [5, 6]
    assert found.net.tolist() == pytest.approx([0.01 - COST, 0.02 - COST])
    changed = trade(measured([*CONFIDENCE[:7], 0.99], MOVES), "model", 0.25, HOUR, COST, {})
    assert changed.rows.tolist() == [5, 6, 7]


def test_a_symbol_holds_one_position_at_a_time() -> None:
    found = trade(measured(CONFIDENCE, MOVES), "model", 0.25, 2 * HOUR, COST, {})
    assert found.rows.tolist() == [5]


@pytest.mark.parametrize(("up", "sign"), [(True, 1), (False, -1)])
def test_a_long_pays_funding_and_a_short_receives_it(up: bool, sign: int) -> None:
    times = np.array([5 * HOUR, 6 * HOUR, 7 * HOUR], dtype=np.int64)
    funding = {"AAAUSDT": (times, np.array([0.5, 0.0001, 0.0002]))}
    found = trade(measured(CONFIDENCE, MOVES, up=up), "model", 0.25, HOUR, COST, funding)
    # Settled at the moment of entry is not paid; settled at the end is.
    assert found.funding.tolist() == pytest.approx([sign * 0.0001, sign * 0.0002])
    assert found.gross.tolist() == pytest.approx([sign * 0.01, sign * 0.02])
    earned = found.earned()
    assert earned.net_bp == pytest.approx(earned.gross_bp - earned.funding_bp - 12)
    assert earned.low_bp <= earned.net_bp <= earned.high_bp


def test_always_holding_never_trades() -> None:
    found = trade(measured(CONFIDENCE, MOVES), ALWAYS_HOLD, 0.25, HOUR, COST, {}).earned()
    assert (found.trades, found.net_bp) == (0, 0.0)


def test_funding_is_read_in_the_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "funding.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("symbol,funding_time_ms,funding_rate\nB,20,0.2\nA,5,0.3\nB,10,0.1\n")
    found = read_funding(path)
    assert found["B"][0].tolist() == [10, 20]
    assert found["B"][1].tolist() == [0.1, 0.2]
    with gzip.open(path, "wt") as file:
        file.write("symbol,time\n")
    with pytest.raises(ValueError, match="header"):
        read_funding(path)
