"""When a process searches for garbage: seldom, and not in what it is built of."""

from __future__ import annotations

import gc

_THRESHOLDS = (50_000, 20, 100)
"""A batch of events makes thousands of values that go with it; searching them all while they are in
use, as every 700 new ones would have it, was a sixth of the time of reading them."""


def search_seldom() -> None:
    """Keep what there is by now out of every later search, and search less often."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
