"""How good predictions are, beside what needs no model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.trade.barrier_label import DOWN, FLAT, UP

Probabilities = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
_LEAST = 1e-9


def log_loss(probabilities: Probabilities, labels: Labels) -> float:
    """Mean negative log-likelihood, in nats; lower is better."""
    chosen = probabilities[np.arange(labels.size), labels]
    return float(-np.log(np.maximum(chosen, _LEAST)).mean())


def accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Share of rows whose most likely class came."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def brier(probabilities: Probabilities, labels: Labels) -> float:
    """Mean squared distance to the outcome over the three classes, 0 to 2."""
    outcome = np.eye(3)[labels]
    return float(((probabilities - outcome) ** 2).sum(axis=1).mean())


def direction_auc(probabilities: Probabilities, labels: Labels) -> float:
    """Among rows that moved: chance that an up row is ranked above a down row; 0.5 is nothing."""
    score = probabilities[:, UP] - probabilities[:, DOWN]
    moved = labels != FLAT
    ups, downs = int((labels == UP).sum()), int((labels == DOWN).sum())
    if not ups or not downs:
        return 0.5
    _, inverse, counts = np.unique(score[moved], return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    rank_sum = ranks[inverse][labels[moved] == UP].sum()
    return float((rank_sum - ups * (ups + 1) / 2.0) / (ups * downs))


def calibration_error(probabilities: Probabilities, labels: Labels, bins: int = 20) -> float:
    """Mean distance, over equally filled bins, of said and seen shares of the advised side."""
    side = advised_side(probabilities)
    said = probabilities[np.arange(labels.size), side]
    hit = (labels == side).astype(np.float64)
    parts = np.array_split(np.argsort(said, kind="stable"), bins)
    gaps = [abs(said[p].mean() - hit[p].mean()) * p.size for p in parts if p.size]
    return float(sum(gaps) / labels.size)


def advised_side(probabilities: Probabilities) -> Labels:
    """UP where up is likelier than down, else DOWN."""
    return np.where(probabilities[:, UP] > probabilities[:, DOWN], UP, DOWN)


def confidence(probabilities: Probabilities) -> npt.NDArray[np.float64]:
    """Probability of the advised side: what the gate compares."""
    return np.maximum(probabilities[:, UP], probabilities[:, DOWN])


def top_share_gross(
    probabilities: Probabilities, moves: npt.NDArray[np.float64], share: float
) -> float:
    """Mean return before costs of the most confident share, in basis points; entries overlap."""
    said = confidence(probabilities)
    chosen = said >= np.quantile(said, 1.0 - share)
    sign = np.where(advised_side(probabilities) == UP, 1.0, -1.0)
    return float((sign * moves)[chosen].mean() * 1e4)


def all_scores(
    probabilities: Probabilities, labels: Labels, moves: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Return every score by name."""
    return {
        "log_loss": log_loss(probabilities, labels),
        "accuracy": accuracy(probabilities, labels),
        "brier": brier(probabilities, labels),
        "calibration_error": calibration_error(probabilities, labels),
        "direction_auc": direction_auc(probabilities, labels),
        "top_5_percent_gross_bp": top_share_gross(probabilities, moves, 0.05),
    }


def best_temperature(probabilities: Probabilities, labels: Labels) -> float:
    """Return the temperature, 0.7 to 1.5, at which the log-loss of these margins is least."""
    logits = np.log(np.maximum(probabilities, 1e-12))
    tried = np.round(np.arange(0.7, 1.501, 0.02), 2)
    losses = []
    for temperature in tried:
        powers = np.exp(logits / temperature)
        losses.append(log_loss(powers / powers.sum(axis=1, keepdims=True), labels))
    return float(tried[int(np.argmin(losses))])


def reliability(
    probabilities: Probabilities, labels: Labels, bins: int = 10
) -> list[tuple[float, float, int]]:
    """Return (said, seen, rows) of equally filled bins of the confidence, ascending."""
    side = advised_side(probabilities)
    said = confidence(probabilities)
    hit = (labels == side).astype(np.float64)
    parts = np.array_split(np.argsort(said, kind="stable"), bins)
    return [(float(said[p].mean()), float(hit[p].mean()), int(p.size)) for p in parts if p.size]
