"""What is made from the contracts and the policy table is checked in as it would be made now."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.ctl import generate

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", generate.files())
def test_it_is_fresh(name: str) -> None:
    assert (ROOT / name).read_text() == generate.files()[name], "run make gen"
