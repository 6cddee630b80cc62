"""A defect that the simulation or a named test must catch: one edit of one file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """One defect. Without tests the simulation has to find it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()
    """What pytest is asked to run; every one of them passes without the defect."""
    first_seed: int = 0
    """Where the simulation begins to look."""
    seeds: int = 150
    """How many seeds it may take; it ends with the first that fails."""
