"""Numbers of a training as people read them, the same in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NONE = "–"
_OF_TRADES = (
    "gross_bp", "funding_bp", "net_bp", "low_bp", "high_bp", "long_share", "total_bp",
)  # fmt: skip
"""What can only be said when there were trades."""
_HIGHER_IS_BETTER = ("accuracy", "direction_auc", "top_5_percent_gross_bp", "net_bp", "total_bp")
_LOWER_IS_BETTER = ("log_loss", "brier", "calibration_error")

Scores = Mapping[str, float]


def figure(column: str, row: Scores) -> str:
    """Return a number of a row as text; a dash for what no trade was there to say."""
    if not _said(column, row):
        return NONE
    value = row[column]
    if column in ("trades", "spans"):
        return f"{value:,.0f}"
    if column == "total_bp":
        return f"{value:+,.0f}"
    return f"{value:+.1f}" if column.endswith("_bp") else f"{value:.4f}"


def best(column: str, rows: Sequence[Scores]) -> float | None:
    """Return the best number of a column; None where no number is better than another.

    Who made no trade lost nothing by them, and is no better for it.
    """
    values = [row[column] for row in rows if _said(column, row)]
    if not values:
        return None
    if column in _HIGHER_IS_BETTER:
        return max(values)
    return min(values) if column in _LOWER_IS_BETTER else None


def _said(column: str, row: Scores) -> bool:
    return bool(row.get("trades", 1)) or column not in _OF_TRADES


def title(name: str) -> str:
    """Return a name as a heading."""
    return name.replace("_", " ")
