"""A bad setting is named."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.kit.settings import describe
from services.venue.settings import VenueSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("venue_market", "/does/not/exist"),
        ("venue_speed", -1),
        ("venue_pace", "hurried"),
        ("venue_listen", "8080"),
        ("venue_balance", "0"),
    ],
)
def test_bad_setting_is_named(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as bad:
        VenueSettings.model_validate({name: value})
    (line,) = describe(bad.value)
    assert line.startswith(f"setting {name.upper()}:")


def test_secret_is_not_shown() -> None:
    assert "paper-secret" not in repr(VenueSettings())
