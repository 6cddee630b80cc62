"""Drift measures against values that are known, and the rule of consecutive windows."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.core.learning.drift import (
    Expected,
    Finding,
    Severity,
    detected,
    in_a_row,
    ks_of,
    ks_p,
    of_results,
    of_spread,
    psi_of,
    severity_of,
)
from services.analytics.core.learning.spread import CELLS, Quantity, Spread, from_quantiles, spread
from services.analytics.core.learning.supervisor import (
    Status,
    Trend,
    propose_weights,
    score_of,
    status_of,
    trend_of,
    urgent_reasons,
)
from services.analytics.core.learning.tally import BINS, Tally

RANDOM = np.random.default_rng(1)


def results(
    samples: float = 1000, hits: float = 0.45, direction: float = 0.5, r: float = 0.0
) -> Tally:
    """Results with a perfect calibration."""
    said = (0.0,) * 4 + (samples * 0.4,) + (0.0,) * (BINS - 5)
    return Tally(
        samples=samples,
        hits=hits * samples,
        decided=samples * 0.7,
        direction_hits=direction * samples * 0.7,
        log_loss_sum=1.02 * samples,
        brier_sum=0.61 * samples,
        r_sum=r * samples,
        gains=max(0.0, samples * (0.3 + r)),
        losses=samples * 0.3,
        said=said,
        seen=said,
    )


@pytest.mark.parametrize("distance", [0.03, 0.05, 0.1, 0.2, 0.4])
@pytest.mark.parametrize("samples", [50, 400, 5000])
def test_the_chance_of_a_distance_is_that_of_scipy(distance: float, samples: int) -> None:
    exact = scipy.stats.kstwo.sf(distance, samples)
    assert ks_p(distance, samples) == pytest.approx(exact, abs=0.02)


def test_the_distance_is_that_of_scipy() -> None:
    a, b = RANDOM.normal(0.40, 0.03, 900), RANDOM.normal(0.42, 0.03, 700)
    found, p = ks_of(spread(Quantity.CONFIDENCE, a), spread(Quantity.CONFIDENCE, b))
    exact = scipy.stats.ks_2samp(a, b)
    assert found == pytest.approx(exact.statistic, abs=0.02)
    assert p < 0.01 and exact.pvalue < 0.01


def test_the_stability_index_has_its_known_value() -> None:
    """Two bins of 50 % that become 60 % and 40 %: 0.1 ln 1.2 + (-0.1) ln 0.8 = 0.0405."""
    before, after = [0.0] * CELLS, [0.0] * CELLS
    before[10], before[300] = 500.0, 500.0
    after[10], after[300] = 600.0, 400.0
    assert psi_of(Spread(tuple(before)), Spread(tuple(after))) == pytest.approx(0.0405, abs=1e-4)
    assert psi_of(Spread(tuple(before)), Spread(tuple(before))) == 0.0


def test_severity_has_one_set_of_thresholds() -> None:
    named = [severity_of(x) for x in (0.09, 0.10, 0.15, 0.25)]
    assert named == [Severity.NONE, Severity.MINOR, Severity.MODERATE, Severity.SEVERE]


@pytest.mark.parametrize("quantity", list(Quantity))
def test_a_spread_from_quantiles_is_that_of_the_values(quantity: Quantity) -> None:
    drawn = {
        Quantity.CONFIDENCE: RANDOM.normal(0.42, 0.03, 20_000),
        Quantity.RETURN: RANDOM.normal(0, 0.001, 20_000),
        Quantity.ATR: RANDOM.lognormal(-7, 0.5, 20_000),
    }[quantity]
    quantiles = np.quantile(drawn, np.linspace(0, 1, 101)).tolist()
    made = from_quantiles(quantity, quantiles, 1e6)
    assert made.total == pytest.approx(1e6)
    assert ks_of(made, spread(quantity, drawn))[0] < 0.02
    assert psi_of(made, spread(quantity, drawn)) < 0.02


def test_what_is_alike_is_no_drift_and_what_is_wilder_is() -> None:
    calm = RANDOM.lognormal(-7, 0.3, 2000)
    reference = spread(Quantity.ATR, calm)
    same = spread(Quantity.ATR, RANDOM.lognormal(-7, 0.3, 2000))
    wild = spread(Quantity.ATR, calm * 3)
    assert of_spread("ensemble", Quantity.ATR, reference, same, usual=0.0) is None
    found = of_spread("ensemble", Quantity.ATR, reference, wild, usual=0.0)
    assert found is not None and found.severity is Severity.SEVERE
    assert found.ks_p < 0.01 and found.psi > 0.25


def test_few_values_prove_nothing() -> None:
    """Both measures must see it: a handful of values gives a large index by chance."""
    drawn = np.sort(RANDOM.lognormal(-7, 0.3, 5000))
    reference = spread(Quantity.ATR, drawn)
    few = spread(Quantity.ATR, drawn[500::1000])
    assert psi_of(reference, few) > 0.25
    assert of_spread("ensemble", Quantity.ATR, reference, few, usual=0.0) is None


def test_results_fall_behind_what_was_expected() -> None:
    expected = Expected(hit_rate=0.45, calibration_error=0.02)
    assert of_results("m", expected, results(hits=0.44)) == []
    assert of_results("m", expected, results(samples=60, hits=0.38)) == []
    (found,) = of_results("m", expected, results(hits=0.39))
    assert found.quantity == "hit_rate" and "39.0%" in found.reason
    lost = of_results("m", expected, results(hits=0.39, direction=0.4, r=-0.1))
    assert [f.quantity for f in lost] == ["hit_rate", "losses"]


def test_a_finding_counts_in_consecutive_windows_only() -> None:
    found = Finding("m", "atr", Severity.SEVERE, "")
    minor = Finding("m", "return", Severity.MINOR, "")
    lost = Finding("m", "losses", Severity.SEVERE, "")
    runs = in_a_row({}, [found, minor, lost])
    assert detected([found, minor, lost], runs) == []
    runs = in_a_row(runs, [found, minor, lost])
    assert detected([found, minor, lost], runs) == [found]
    assert detected([lost], in_a_row(runs, [lost])) == [lost]
    assert detected([found], in_a_row(in_a_row(runs, []), [found])) == []


def test_the_score_is_the_supervisors() -> None:
    coin = results()
    assert score_of(coin) == pytest.approx(0.35 * 0.5 + 0.20 * 1.0 + 0.10 * 1.0 / 10)
    assert status_of(coin) == (Status.HEALTHY, ())
    few = results(samples=10)
    assert status_of(few)[0] is Status.UNKNOWN
    assert score_of(few) == pytest.approx(score_of(coin) / 2)
    bad = results(direction=0.45, r=-0.05)
    assert status_of(bad)[0] is Status.DEGRADED
    urgent = results(direction=0.3, r=-0.2)
    assert status_of(urgent)[0] is Status.CRITICAL
    assert "below 40 %" in urgent_reasons(urgent)[0]
    assert "0.60 barriers" in urgent_reasons(results(direction=0.5, r=-0.6))[0]


def test_a_trend_is_fifteen_percent_apart() -> None:
    assert trend_of(results(), results(r=0.05)) is Trend.STABLE
    assert trend_of(results(), results(r=0.3, direction=0.6)) is Trend.IMPROVING
    assert trend_of(results(), results(r=-0.3, direction=0.42)) is Trend.WORSENING


losses = st.dictionaries(
    st.sampled_from(["lightgbm", "xgboost", "nhits", "patchtst"]),
    st.tuples(st.floats(0.05, 1), st.floats(0.5, 2)),
    min_size=2,
)


@given(losses)
def test_shares_move_slowly_within_bounds_and_to_an_end(
    drawn: dict[str, tuple[float, float]],
) -> None:
    total = sum(share for share, _ in drawn.values())
    own = {name: share / total for name, (share, _) in drawn.items()}
    found = {
        name: Tally(samples=2000, log_loss_sum=2000 * loss) for name, (_, loss) in drawn.items()
    }
    held = dict(own)
    for _ in range(200):
        proposal = propose_weights(own, held, found)
        if proposal is None:
            break
        assert sum(proposal.weights.values()) == pytest.approx(1.0)
        assert all(abs(proposal.weights[n] - held[n]) <= 0.0201 for n in own)
        assert len(proposal.reasons) == len(own)
        held = dict(proposal.weights)
    assert propose_weights(own, held, found) is None
    # half to one and a half of its own, and what bringing all to a sum of 1 may add
    assert all(own[n] / 3.01 <= held[n] <= min(1.0, own[n] * 3.01) for n in own)


def test_the_better_model_gets_more_and_few_outcomes_move_nothing() -> None:
    own = {"a": 0.5, "b": 0.5}
    found = {"a": Tally(samples=5000, log_loss_sum=5000), "b": Tally(5000, log_loss_sum=5200)}
    proposal = propose_weights(own, own, found)
    assert proposal is not None and proposal.weights["a"] == pytest.approx(0.52)
    few = {**found, "b": Tally(samples=500, log_loss_sum=520)}
    assert propose_weights(own, own, few) is None
