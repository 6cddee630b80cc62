"""All projections of the ledger together: trades, wallet anchors, marks, equity, signals."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.analytics.core.equity import EquityHour, hour_of, merge_hour
from services.analytics.core.ledger import Fact, RoundFact, SignalFact, WalletFact
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
    equity: dict[tuple[str, int], EquityHour] = field(default_factory=dict)
    """By account and start of the hour; of the loaded part, to be merged with what is stored."""
    signals: dict[str, SignalFact] = field(default_factory=dict)
    """By signal id; a signal's content is derived from its id's candle, so any is the one."""
    changed_anchors: set[str] = field(default_factory=set)
    changed_marks: set[tuple[str, str]] = field(default_factory=set)

    def apply(self, fact: Fact) -> None:
        """Take in one fact; order and repetition do not matter."""
        match fact:
            case RoundFact():
                self._anchor(fact)
                changed = merge_marks(self.marks, fact)
                self.marks.update(changed)
                self.changed_marks.update(changed)
                self._equity(fact)
            case WalletFact():
                self._anchor(fact)
            case SignalFact():
                known_signal = self.signals.get(fact.signal_id)
                self.signals[fact.signal_id] = min(fact, known_signal or fact, key=repr)
            case _:
                self.trades.apply(fact)

    def _equity(self, fact: RoundFact) -> None:
        hour = hour_of(fact)
        if hour is not None:
            self.equity[hour.key] = merge_hour(hour, self.equity.get(hour.key))

    def _anchor(self, fact: RoundFact | WalletFact) -> None:
        anchor = anchor_of(fact)
        if anchor is not None and anchor.supersedes(self.anchors.get(anchor.account)):
            self.anchors[anchor.account] = anchor
            self.changed_anchors.add(anchor.account)
