"""A histogram of many values at once: observed one by one each would cost as much as deciding."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import INF, floatToGoString


class Spread(Collector):
    """Counts values by their upper bounds, as a histogram of Prometheus does."""

    def __init__(self, name: str, doc: str, bounds: Sequence[float]) -> None:
        """`bounds` are upper bounds, ascending, each within its bucket."""
        self._name, self._doc = name, doc
        self._bounds = (*bounds, INF)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe_all(self, values: Iterable[float]) -> None:
        """Take values in; from one thread only."""
        bounds, counts, total = self._bounds, self._counts, 0.0
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        self._sum += total

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """Yield the name."""
        yield HistogramMetricFamily(self._name, self._doc)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield what was counted."""
        counts, reached, buckets = self._counts.copy(), 0, []
        for bound, count in zip(self._bounds, counts, strict=True):
            reached += count
            named = floatToGoString(bound)  # type: ignore[no-untyped-call]
            buckets.append((named, reached))
        yield HistogramMetricFamily(self._name, self._doc, buckets=buckets, sum_value=self._sum)
