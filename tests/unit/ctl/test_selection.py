"""Which parts run when some are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.catalog.processes import ON_DEMAND, PROCESSES
from services.ctl.supervisor.home import Refused
from services.ctl.supervisor.selection import NEEDS, Selection

parts = st.sets(st.sampled_from(sorted(NEEDS)), min_size=1)


def test_the_guides_selective_start() -> None:
    backing = Selection.of(["nats", "postgres"])
    assert backing.parts == {"nats", "postgres"}
    with_ai = backing.and_also(Selection.of(["ai-service"]))
    assert with_ai.parts == {"nats", "postgres", "traces", "gateway", "ai"}
    assert not with_ai.whole
    more = Selection.of(["exec-risk-service", "analytics-os-service"])
    assert with_ai.and_also(more).parts == with_ai.parts | {"venue", "exec_risk", "analytics"}


def test_without_a_name_everything_runs() -> None:
    assert Selection.of([]).whole
    assert {process.key for process in (*PROCESSES, *ON_DEMAND)} <= Selection.of([]).parts


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(Refused, match=r"there is no redis; there are postgres, nats, .*analytics"):
        Selection.of(["ai", "redis"])


def test_what_another_needs_stays() -> None:
    with pytest.raises(Refused, match="postgres is needed by analytics, exec_risk: name them too"):
        Selection().without(["postgres"])
    with pytest.raises(Refused, match="venue is needed by exec_risk: name it too"):
        Selection().without(["paper-venue", "analytics"])
    left = Selection().without(["postgres", "analytics", "exec_risk"])
    assert "postgres" not in left and "ai" in left


@given(parts, parts)
def test_everything_that_runs_has_what_it_needs(first: set[str], second: set[str]) -> None:
    chosen = Selection.of(first).and_also(Selection.of(second))
    assert first | second <= chosen.parts
    try:
        left = chosen.without(second)
    except Refused:
        left = chosen
    for selection in (chosen, left):
        assert all(need in selection for part in selection.parts for need in NEEDS[part])
