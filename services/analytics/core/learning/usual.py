"""How far a spread moves from window to window without any drift.

A calm or a wild day moves what models see and say further than any fixed limit: on recorded months
the stability index of a day's confidence was 0.05 to 0.5 with sixteen symbols, and 0.04 to 5.7 with
one. So an index counts for what it has above the largest of the windows before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

REMEMBERED = 30
"""Windows whose indexes are kept."""

Indexes = Mapping[str, Sequence[float]]
"""Indexes of earlier windows by what was watched, the oldest first."""


def usual_of(indexes: Sequence[float], run: int, least: int) -> float | None:
    """Return the largest index of the windows before; None while fewer than `least` are known.

    `run` is in how many windows up to now the finding held: the one that began it is among the
    indexes, since alone it would have been what happens now and then.
    """
    before = indexes[:-1] if run else indexes
    return max(before, default=0.0) if len(before) >= least else None


def remembered(
    before: Indexes, found: Mapping[str, float], drifting: Collection[str]
) -> dict[str, list[float]]:
    """Return the indexes with those of one more window, but of what is `drifting` in it."""
    kept = {name: list(indexes) for name, indexes in before.items()}
    for name, index in found.items():
        if name not in drifting:
            kept[name] = [*kept.get(name, []), index][-REMEMBERED:]
    return kept
