"""Labels mean what they say, and the walk forward never trains on what it tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.lab.training.labels import DOWN, FLAT, UP, LabelRule, label_moves
from services.lab.training.scores import direction_auc, log_loss
from services.lab.training.walk_forward import folds

RULE = LabelRule(horizon=3, cost=0.001, atr_multiple=1.5)


def labelled(move: float, atr: float) -> int:
    opens = np.full(10, 100.0)
    closes = np.full(10, 100.0)
    closes[4 + 3] = 100.0 * (1 + move)
    labels, moves = label_moves(
        opens, closes, np.array([4]), np.array([atr], dtype=np.float32), RULE
    )
    assert moves[0] == pytest.approx(move)
    return int(labels[0])


@pytest.mark.parametrize(
    ("move", "atr", "label"),
    [
        (0.0011, 0.0, UP),
        (-0.0011, 0.0, DOWN),
        (0.0009, 0.0, FLAT),
        (-0.0009, 0.0, FLAT),
        (0.0011, 0.001, FLAT),
        (0.0016, 0.001, UP),
        (-0.0016, 0.001, DOWN),
    ],
)
def test_a_move_counts_when_it_is_beyond_costs_and_noise(
    move: float, atr: float, label: int
) -> None:
    """Incident 103: a label says which way the price went, never whether some trade won."""
    assert labelled(move, atr) == label


@given(st.floats(-0.1, 0.1), st.floats(0, 0.01))
def test_labels_treat_both_sides_alike(move: float, atr: float) -> None:
    """Incident 103: no side is labelled more readily than the other."""
    assert labelled(move, atr) + labelled(-move, atr) == DOWN + UP


def test_the_entry_is_the_next_open() -> None:
    opens, closes = np.full(10, 100.0), np.full(10, 100.0)
    opens[5] = 99.0
    labels, _ = label_moves(opens, closes, np.array([4]), np.zeros(1, dtype=np.float32), RULE)
    assert labels[0] == UP


def test_a_label_beyond_the_data_is_an_error() -> None:
    prices = np.full(10, 100.0)
    with pytest.raises(ValueError, match="bars after its window"):
        label_moves(prices, prices, np.array([7]), np.zeros(1, dtype=np.float32), RULE)


@given(st.integers(1, 6), st.integers(0, 5000), st.integers(50, 400))
def test_folds_keep_the_gap_and_the_order_of_time(count: int, gap: int, rows: int) -> None:
    times = np.arange(rows, dtype=np.int64) * 60
    seen: set[int] = set()
    for fold in folds(times, count, gap):
        assert times[fold.train].max() < times[fold.test].min() - gap + 60
        assert not seen & set(fold.test.tolist())
        seen |= set(fold.test.tolist())


def test_scores_of_known_predictions() -> None:
    labels = np.array([DOWN, FLAT, UP, UP])
    perfect = np.eye(3)[labels]
    assert log_loss(perfect, labels) == pytest.approx(0.0, abs=1e-6)
    assert direction_auc(perfect, labels) == 1.0
    assert direction_auc(np.full((4, 3), 1 / 3), labels) == 0.5
