"""A standby that takes over stays in rotation; whoever starts fresh waits until it is ready."""

from __future__ import annotations

from dataclasses import dataclass

from services.exec_risk.term.rotation import STANDBY_SECONDS, TAKE_OVER_SECONDS, Rotation


@dataclass
class Term:
    ready: bool = False


def test_a_fresh_start_is_not_ready_before_its_positions_are_protected() -> None:
    rotation = Rotation()
    assert rotation.stays(None, 100.0)
    later = 100.0 + STANDBY_SECONDS - 0.5  # the lease of a killed leader runs out meanwhile
    assert not rotation.stays(Term(), later)
    assert rotation.stays(Term(ready=True), later + 1)


def test_a_standby_that_takes_over_goes_on_answering_for_a_while() -> None:
    rotation = Rotation()
    rotation.stays(None, 0.0)
    term = Term()
    assert rotation.stays(term, STANDBY_SECONDS)
    assert not rotation.stays(term, STANDBY_SECONDS + TAKE_OVER_SECONDS)
    term.ready = True
    assert rotation.stays(term, 20.0)
    term.ready = False  # a leader whose positions lost their protection is no standby
    assert not rotation.stays(term, 20.5)
