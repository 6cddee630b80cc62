"""All projections of the ledger together: trades, wallet anchors, marks."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.analytics.core.ledger import Fact, RoundFact, WalletFact
from services.analytics.core.portfolio import Anchor, Mark, anchor_of, merge_marks
from services.analytics.core.trades import Projection


@dataclass(slots=True)
class Books:
    """The projections as far as they are loaded, and what changed in them."""

    trades: Projection = field(default_factory=Projection)
    anchors: dict[str, Anchor] = field(default_factory=dict)
    """By account."""
    marks: dict[tuple[str, str], Mark] = field(default_factory=dict)
    """By account and symbol."""
    changed_anchors: set[str] = field(default_factory=set)
    changed_marks: set[tuple[str, str]] = field(default_factory=set)

    def apply(self, fact: Fact) -> None:
        """Take in one fact; order and repetition do not matter."""
        if isinstance(fact, RoundFact | WalletFact):
            self._anchor(fact)
        if isinstance(fact, RoundFact):
            changed = merge_marks(self.marks, fact)
            self.marks.update(changed)
            self.changed_marks.update(changed)
        self.trades.apply(fact)

    def _anchor(self, fact: RoundFact | WalletFact) -> None:
        anchor = anchor_of(fact)
        if anchor is not None and anchor.supersedes(self.anchors.get(anchor.account)):
            self.anchors[anchor.account] = anchor
            self.changed_anchors.add(anchor.account)
