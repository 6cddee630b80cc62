"""`qt simulate`: the command that `lab` brings."""

from __future__ import annotations

from services.lab.simulation.command import simulate

__all__ = ["simulate"]
