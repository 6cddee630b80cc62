"""Whether a replica may answer calls while it takes an account over."""

from __future__ import annotations

from typing import Protocol

STANDBY_SECONDS = 3.0
"""So long a replica must have stood by, all parts well: a fresh start is no take-over."""
TAKE_OVER_SECONDS = 10.0
"""A term that is not ready then has a trouble that callers must be led away from."""


class Leading(Protocol):
    """A term of leadership."""

    @property
    def ready(self) -> bool:
        """True once everything was reconciled and every position is protected."""
        ...


class Rotation:
    """Follows the terms of one replica.

    A standby answers from what is stored like any other replica. Were it to leave rotation for the
    second in which its term begins, nobody would answer while the leader before it restarts.
    """

    def __init__(self) -> None:
        """A replica begins as one that has not stood by."""
        self._standby_since: float | None = None
        self._term_since: float | None = None

    def stays(self, term: Leading | None, now: float) -> bool:
        """Say whether the account is no reason to leave; asked at every look.

        `now`: seconds of a clock that never goes back.
        """
        if term is None:
            self._standby_since = now if self._standby_since is None else self._standby_since
            self._term_since = None
            return True
        if term.ready:
            self._standby_since = None
            return True
        self._term_since = now if self._term_since is None else self._term_since
        stood = self._standby_since is not None and (
            self._term_since - self._standby_since >= STANDBY_SECONDS
        )
        return stood and now - self._term_since < TAKE_OVER_SECONDS
