"""The gate lets through what the models say, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.core.ensemble import (
    Action,
    Gate,
    HoldReason,
    Prediction,
    decide,
    make_gate,
    threshold_for,
)
from services.ai.core.outputs import ModelOutput, Outputs
from tests.unit.ai.candle_samples import Probabilities, candle, manifest, output

OPEN = Gate(threshold=0.0)


def told(found: ModelOutput, gate: Gate = OPEN, *, stale: bool = False) -> Prediction:
    names = ["lightgbm", "xgboost", "third", "fourth"][: len(found.model_probabilities)]
    weights = [1 / len(names)] * len(names)
    return one(found, names, weights, gate, stale=stale)


def one(
    found: ModelOutput,
    names: Sequence[str],
    weights: Sequence[float],
    gate: Gate,
    *,
    stale: bool = False,
) -> Prediction:
    (prediction,) = decide([candle()], Outputs.of([found]), names, [weights], [gate], [stale])
    return prediction


@st.composite
def probabilities(draw: st.DrawFn) -> Probabilities:
    parts = [draw(st.floats(0.001, 1.0)) for _ in range(3)]
    total = sum(parts)
    return parts[0] / total, parts[1] / total, parts[2] / total


outputs = st.lists(probabilities(), min_size=1, max_size=4).map(lambda found: output(*found))


@given(outputs, st.floats(0, 1), st.floats(0.5, 1))
def test_confidence_is_the_models_own_and_never_raised(
    found: ModelOutput, threshold: float, agreement: float
) -> None:
    """Incidents 96 and 97: confidence lies in [0, 1] and no gate or fallback lifts it."""
    prediction = told(found, Gate(threshold, agreement))
    assert 0.0 <= prediction.confidence <= 1.0
    assert prediction.confidence == max(found.probabilities[0], found.probabilities[2])
    assert prediction.confidence <= max(max(p[0], p[2]) for p in found.model_probabilities) + 1e-9


@given(outputs, st.floats(0, 1), st.floats(0.5, 1))
def test_a_signal_has_a_likelier_side_enough_confidence_and_agreement(
    found: ModelOutput, threshold: float, agreement: float
) -> None:
    """Incident 97: a consensus to hold never becomes an order."""
    prediction = told(found, Gate(threshold, agreement))
    down, _, up = found.probabilities
    if prediction.action is Action.HOLD:
        assert prediction.hold_reason is not HoldReason.NONE
    else:
        assert prediction.hold_reason is HoldReason.NONE
        assert prediction.confidence >= threshold
        assert prediction.agreement >= agreement
        assert (prediction.action is Action.BUY) == (up > down)


odd = st.sampled_from([0.0, -0.1, 0.5, 1.0, 1.1, float("nan"), float("inf")])
anything = st.builds(
    lambda valid, atr, votes: output(*votes, valid=valid, atr=atr),
    st.booleans(),
    st.floats(0, 0.1) | odd,
    st.tuples(probabilities() | st.tuples(odd, odd, odd), probabilities()),
)


@given(st.lists(st.tuples(anything, st.floats(0, 1), st.booleans()), min_size=1, max_size=9))
def test_an_answer_does_not_depend_on_its_company(
    rows: list[tuple[ModelOutput, float, bool]],
) -> None:
    found = decide(
        [candle(number) for number in range(len(rows))],
        Outputs.of([said for said, _, _ in rows]),
        ["a", "b"],
        [(0.5, 0.5) if number % 2 else (1.0, 0.0) for number in range(len(rows))],
        [Gate(threshold, wild_threshold=0.9, wild_from=0.05) for _, threshold, _ in rows],
        [late for _, _, late in rows],
    )
    for number, (prediction, (said, threshold, late)) in enumerate(zip(found, rows, strict=True)):
        weights = (0.5, 0.5) if number % 2 else (1.0, 0.0)
        gate = Gate(threshold, wild_threshold=0.9, wild_from=0.05)
        alone = one(said, ["a", "b"], weights, gate, stale=late)
        assert prediction.candle == candle(number)
        for name in ("action", "confidence", "hold_reason", "agreement", "output", "weights"):
            assert getattr(prediction, name) == getattr(alone, name), name


@given(outputs, st.floats(0, 1))
def test_both_sides_are_treated_alike(found: ModelOutput, threshold: float) -> None:
    """Incident 103: mirrored models give the mirrored action."""
    mirrored = output(*((up, flat, down) for down, flat, up in found.model_probabilities))
    first, second = told(found, Gate(threshold)), told(mirrored, Gate(threshold))
    swap = {Action.BUY: Action.SELL, Action.SELL: Action.BUY, Action.HOLD: Action.HOLD}
    assert second.action is swap[first.action]
    assert second.hold_reason is first.hold_reason


@given(outputs, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_never_lets_more_through(
    found: ModelOutput, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    if told(found, Gate(high)).action is not Action.HOLD:
        assert told(found, Gate(low)).action is not Action.HOLD


def test_the_votes_are_those_of_the_models_with_their_weights() -> None:
    """Incident 96: what is reported as votes is what voted."""
    prediction = told(output((0.1, 0.3, 0.6), (0.2, 0.3, 0.5)))
    assert [vote.model for vote in prediction.votes] == ["lightgbm", "xgboost"]
    assert [vote.side for vote in prediction.votes] == [Action.BUY, Action.BUY]
    assert sum(vote.weight for vote in prediction.votes) == 1.0
    assert prediction.agreement == 1.0
    assert prediction.score == pytest.approx(0.4)


def test_a_split_vote_holds_however_sure_one_side_is() -> None:
    prediction = told(output((0.9, 0.05, 0.05), (0.3, 0.3, 0.4)))
    assert prediction.action is Action.HOLD
    assert prediction.hold_reason is HoldReason.SPLIT_VOTE
    assert prediction.agreement == 0.5


SURE, AGAINST = (0.1, 0.1, 0.8), (0.5, 0.1, 0.4)


@pytest.mark.parametrize(
    ("votes", "weights", "action"),
    [
        ((SURE, SURE, SURE, AGAINST), (0.25, 0.25, 0.3, 0.2), Action.BUY),
        ((SURE, SURE, AGAINST, SURE), (0.25, 0.25, 0.3, 0.2), Action.BUY),
        ((SURE, SURE, AGAINST, AGAINST), (0.25, 0.25, 0.3, 0.2), Action.HOLD),
        ((SURE, SURE, SURE, AGAINST), (0.3, 0.3, 0.4, 0.0), Action.BUY),
        ((SURE, SURE, AGAINST, SURE), (0.3, 0.3, 0.4, 0.0), Action.HOLD),
        ((SURE, SURE, SURE, SURE), (0.5, 0.5, 0.0, 0.0), Action.HOLD),
    ],
)
def test_three_of_four_models_must_vote_for_a_side_and_an_excluded_one_does_not_vote(
    votes: tuple[Probabilities, ...], weights: tuple[float, ...], action: Action
) -> None:
    """Incident 96: two against two holds, however the shares of the models lie."""
    total = tuple(sum(w * p[i] for w, p in zip(weights, votes, strict=True)) for i in range(3))
    found = ModelOutput(True, 0.001, (total[0], total[1], total[2]), votes)
    prediction = one(found, ["a", "b", "c", "d"], weights, OPEN)
    assert prediction.action is action
    assert [vote.weight for vote in prediction.votes] == list(weights)


@pytest.mark.parametrize(("atr", "action"), [(0.0199, Action.BUY), (0.02, Action.HOLD)])
def test_high_volatility_halves_the_share(atr: float, action: Action) -> None:
    gate = make_gate(manifest(high_volatility_atr=0.02), 0.1, None)
    assert gate.least(0.0) == 0.45
    assert gate.least(0.02) == threshold_for(manifest(), 0.05) == 0.5
    assert told(output((0.1, 0.43, 0.47), atr=atr), gate).action is action


def test_models_without_a_side_hold() -> None:
    prediction = told(output((0.25, 0.5, 0.25), (0.25, 0.5, 0.25)))
    assert prediction.action is Action.HOLD
    assert prediction.hold_reason is HoldReason.SPLIT_VOTE


def test_a_stale_candle_is_answered_with_hold() -> None:
    prediction = told(output((0.1, 0.1, 0.8)), stale=True)
    assert prediction.action is Action.HOLD
    assert prediction.hold_reason is HoldReason.STALE
    assert prediction.confidence == pytest.approx(0.8)


nan = float("nan")


@pytest.mark.parametrize(
    "found",
    [
        output((0.1, 0.1, 0.8), valid=False),
        output((nan, 0.5, 0.5)),
        output((0.1, 0.1, 0.8), (0.1, nan, 0.9)),
        output((0.0, 0.0, 0.0)),
        output((0.0, -0.5, 1.5)),
        output((0.1, 0.1, 0.8), atr=nan),
        output((0.1, 0.1, 0.8), atr=-0.1),
    ],
)
def test_what_is_no_probability_is_not_traded(found: ModelOutput) -> None:
    prediction = told(found)
    assert prediction.action is Action.HOLD
    assert prediction.hold_reason is HoldReason.INVALID_WINDOW
    assert prediction.confidence == 0.0


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_has_a_lower_threshold(one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert threshold_for(manifest(), small) >= threshold_for(manifest(), large)


@pytest.mark.parametrize(
    ("share", "threshold"),
    [(0.05, 0.5), (0.1, 0.45), (0.2, 0.4), (0.01, 0.6), (0.001, 0.6), (0.075, 0.475), (1.0, 0.0)],
)
def test_a_share_is_resolved_by_the_quantiles(share: float, threshold: float) -> None:
    assert threshold_for(manifest(), share) == pytest.approx(threshold)


def test_a_share_of_nothing_lets_nothing_through() -> None:
    gate = make_gate(manifest(), 0.0, None)
    assert told(output((0.0, 0.0, 1.0)), gate).action is Action.HOLD


def test_the_floor_only_ever_raises_the_threshold() -> None:
    assert make_gate(manifest(), 0.05, None).threshold == 0.5
    assert make_gate(manifest(), 0.05, 0.65).threshold == 0.65
    assert make_gate(manifest(), 0.05, 0.1).threshold == 0.5


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_that_is_none_is_an_error(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        threshold_for(manifest(), share)
