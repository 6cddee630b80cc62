"""What can go wrong with the bus."""

from __future__ import annotations


class BusUnavailable(Exception):
    """The server did not answer in time or lacks a stream. A message may still be stored; its id
    dedupes."""


class BusRefused(Exception):
    """The server refused the message for good, for example because it is too large."""


class BusDenied(BusRefused):
    """This user of the bus may not use the subject; the text names it."""
