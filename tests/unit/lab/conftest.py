"""Property tests here say nothing about time: machines are busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("any-time", deadline=None)
settings.load_profile("any-time")
