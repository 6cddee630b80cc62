"""The fund's policy in ai: share and weights of a market time."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.core.fund import combined, share_at, weights_at
from services.ai.core.manifest import Manifest
from services.trade.fund_policy import FundPolicy, SystemMode
from services.trade.policy_book import PolicyBook


class FourModels:
    """What the weights ask of a manifest."""

    models = ("a", "b", "c", "d")


MANIFEST = cast("Manifest", FourModels())


def test_the_share_is_that_of_the_version_that_holds() -> None:
    book = PolicyBook()
    assert share_at(book, 5000, 0.07) == 0.07
    book.learn(FundPolicy(signal_share=0.05))
    book.learn(FundPolicy(version=2, effective_from=5000, signal_share=0.0))
    assert (share_at(book, 4999, 0.07), share_at(book, 5000, 0.07)) == (0.05, 0.0)
    defensive = FundPolicy(version=3, effective_from=6000, system_mode=SystemMode.DEFENSIVE)
    book.learn(defensive)
    assert share_at(book, 6000, 0.07) == 0.01
    book.learn(replace(defensive, version=4, signal_share=0.001))
    assert share_at(book, 6000, 0.07) == 0.001


def test_weights_are_shared_among_the_models_of_the_artifact() -> None:
    book = PolicyBook([FundPolicy(model_weights={"a": 0.5, "gone": 0.5})])
    assert weights_at(book, 2000, MANIFEST) == (1.0, 0.0, 0.0, 0.0)
    nobody = PolicyBook([FundPolicy(model_weights={"gone": 1.0})])
    assert weights_at(nobody, 2000, MANIFEST) == ()
    assert weights_at(PolicyBook([FundPolicy()]), 2000, MANIFEST) == ()


WEIGHTS = st.lists(st.floats(0.001, 1), min_size=4, max_size=4).map(
    lambda found: tuple(w / sum(found) for w in found)
)


@given(WEIGHTS, WEIGHTS, st.lists(st.booleans(), min_size=4, max_size=4))
def test_an_excluded_model_stays_excluded_whatever_is_asked(
    asked: tuple[float, ...], own: tuple[float, ...], kept: list[bool]
) -> None:
    watched = tuple(w if keep else 0.0 for w, keep in zip(own, kept, strict=True))
    assert combined((), watched) == watched
    found = combined(asked, watched)
    assert [share > 0 for share in found] == kept
    if any(kept):
        assert sum(found) == pytest.approx(1)
