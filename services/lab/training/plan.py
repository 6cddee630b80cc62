"""Everything that decides what a training makes."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.lab.training.members import MemberPlan
from services.trade.barrier_label import LabelRule


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The choices of one training."""

    every: int = 6
    """Take every n-th bar as a row."""
    folds: int = 5
    share: float = 0.05
    """Share of rows that the backtest trades."""
    label: LabelRule = field(default_factory=LabelRule)
    members: MemberPlan = field(default_factory=MemberPlan)
