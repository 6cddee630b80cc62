"""What holds for tests of whole systems."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests marked `in_order` back into the order in which their file has them."""
    places = [place for place, item in enumerate(items) if item.get_closest_marker("in_order")]
    first: dict[str, int] = {}
    for place in places:
        first.setdefault(str(items[place].path), place)
    ordered = sorted(
        (items[place] for place in places),
        key=lambda item: (first[str(item.path)], item.location[1] or 0),
    )
    for place, item in zip(places, ordered, strict=True):
        items[place] = item
