"""Many values at once are counted as Prometheus's own histogram counts them one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from services.kit.observe.metrics import Metrics

BOUNDS = (0.1, 0.5, 1.0)
VALUES = st.one_of(st.sampled_from([0.0, *BOUNDS]), st.floats(0, 2))


def shown(metrics: Metrics) -> list[str]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return [line for line in lines if "_said" in line and "_created" not in line]


@given(st.lists(st.lists(VALUES, max_size=6), max_size=4))
def test_many_at_once_are_shown_as_one_by_one(told: list[list[float]]) -> None:
    ours, theirs = Metrics("x"), Metrics("x")
    spread = ours.spread("said", "What was said.", BOUNDS)
    histogram = theirs.histogram("said", "What was said.", buckets=BOUNDS)
    for values in told:
        spread.observe_all(values)
        for value in values:
            histogram.observe(value)
    sums = [next(line for line in shown(m) if "_sum" in line).split()[1] for m in (ours, theirs)]
    assert abs(float(sums[0]) - float(sums[1])) < 1e-9
    assert [line for line in shown(ours) if "_sum" not in line] == [
        line for line in shown(theirs) if "_sum" not in line
    ]
