"""Drift: what the models see, say or hit differs from what it was when they were made.

One set of thresholds. A finding counts when it holds in consecutive windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from services.analytics.core.learning.spread import Quantity, Spread
from services.analytics.core.learning.tally import Tally, interval

BINS = 10
MINOR, MODERATE, SEVERE = 0.10, 0.15, 0.25
"""Population stability index."""
KS_P = 0.01
HIT_RATE_DROP = 0.05
CALIBRATION_RISE = 0.08
WINDOWS = 2
"""Consecutive windows in which a finding must hold."""
LOST_WINDOWS = 3
"""Consecutive windows of losses that are drift by themselves."""
_LEAST_SHARE = 1e-4


def key_of(model: str, quantity: str) -> str:
    """Return what a finding about a model is known by from window to window."""
    return f"{model}/{quantity}"


class Severity(StrEnum):
    """How far a spread has moved."""

    NONE = "none"
    MINOR = "minor"
    MODERATE = "moderate"
    SEVERE = "severe"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that differs within one window."""

    model: str
    quantity: str
    severity: Severity
    reason: str
    psi: float = 0.0
    ks_p: float = 1.0

    @property
    def key(self) -> str:
        """What must be found again for it to count."""
        return key_of(self.model, self.quantity)

    @property
    def windows(self) -> int:
        """Consecutive windows after which it counts."""
        return LOST_WINDOWS if self.quantity == "losses" else WINDOWS


@dataclass(frozen=True, slots=True)
class Expected:
    """What a model did on candles that it was not trained on."""

    hit_rate: float
    calibration_error: float


def severity_of(psi: float) -> Severity:
    """Name a population stability index."""
    if psi >= SEVERE:
        return Severity.SEVERE
    if psi >= MODERATE:
        return Severity.MODERATE
    return Severity.MINOR if psi >= MINOR else Severity.NONE


def psi_of(reference: Spread, current: Spread) -> float:
    """Population stability index over ten bins that the reference fills about equally."""
    before, after = _bins(reference, current)
    total = 0.0
    for a, b in zip(before, after, strict=True):
        a, b = max(a, _LEAST_SHARE), max(b, _LEAST_SHARE)
        total += (b - a) * math.log(b / a)
    return total


def ks_of(reference: Spread, current: Spread) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance and its probability without drift."""
    n, m = reference.total, current.total
    if not n or not m:
        return (0.0, 1.0)
    below = zip(accumulate(reference.counts), accumulate(current.counts), strict=True)
    distance = max(abs(a / n - b / m) for a, b in below)
    return (distance, ks_p(distance, n * m / (n + m)))


def ks_p(distance: float, samples: float) -> float:
    """Chance of so large a distance of `samples` values (Kolmogorov 1933, Stephens' correction)."""
    root = math.sqrt(samples)
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:
        return 1.0
    terms = (math.copysign(math.exp(-2.0 * (k * x) ** 2), k % 2 - 0.5) for k in range(1, 101))
    return min(1.0, max(0.0, 2.0 * sum(terms)))


def of_spread(
    model: str, quantity: Quantity, reference: Spread, current: Spread, *, usual: float
) -> Finding | None:
    """Return how a spread moved, from minor on; both measures must see it.

    `usual` is the index that windows without drift come to: what is above it counts.
    """
    psi = psi_of(reference, current)
    distance, p = ks_of(reference, current)
    severity = severity_of(psi - usual)
    if severity is Severity.NONE or p >= KS_P:
        return None
    reason = (
        f"the {quantity.value} is spread otherwise than its reference: PSI {psi:.2f}"
        f" where {usual:.2f} is usual ({severity.value}), KS distance {distance:.2f} (p {p:.2g})"
    )
    return Finding(model, quantity.value, severity, reason, psi, p)


def of_results(model: str, expected: Expected, found: Tally) -> list[Finding]:
    """Return in what a model's results fell behind what it did when it was made."""
    findings = []
    _, high = interval(found.hits, found.samples)
    if expected.hit_rate - found.hit_rate >= HIT_RATE_DROP and high < expected.hit_rate:
        reason = f"hits {found.hit_rate:.1%} of outcomes, expected {expected.hit_rate:.1%}"
        findings.append(Finding(model, "hit_rate", Severity.SEVERE, reason))
    if found.calibration_error - expected.calibration_error >= CALIBRATION_RISE:
        reason = (
            f"calibration error {found.calibration_error:.1%},"
            f" expected {expected.calibration_error:.1%}"
        )
        findings.append(Finding(model, "calibration", Severity.SEVERE, reason))
    _, best = interval(found.direction_hits, found.decided)
    if found.average_r < 0 and best < 0.5:
        reason = f"following it lost {-found.average_r:.2f} barriers a prediction before costs"
        findings.append(Finding(model, "losses", Severity.SEVERE, reason))
    return findings


def in_a_row(before: Mapping[str, int], findings: Iterable[Finding]) -> dict[str, int]:
    """Return in how many consecutive windows each moderate or worse finding holds now."""
    grave = (Severity.MODERATE, Severity.SEVERE)
    return {f.key: before.get(f.key, 0) + 1 for f in findings if f.severity in grave}


def detected(findings: Sequence[Finding], runs: Mapping[str, int]) -> list[Finding]:
    """Return the findings that held for long enough to be drift."""
    return [f for f in findings if runs.get(f.key, 0) >= f.windows]


def _bins(reference: Spread, current: Spread) -> tuple[list[float], list[float]]:
    n, m = reference.total, current.total
    before, after = [0.0] * BINS, [0.0] * BINS
    passed = 0.0
    for a, b in zip(reference.counts, current.counts, strict=True):
        # the bin in which the middle of the cell lies, by the reference
        place = min(BINS - 1, int((passed + a / 2) / n * BINS)) if n else 0
        passed += a
        before[place] += a / n if n else 0.0
        after[place] += b / m if m else 0.0
    return before, after
