"""What `qt` says when it does not do what was asked for."""

from __future__ import annotations


class Refused(Exception):
    """What was asked for cannot be done; the text is one line that says what to do instead."""
