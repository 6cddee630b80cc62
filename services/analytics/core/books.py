"""All projections of the ledger together: trades, wallet anchors, marks, equity, signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.analytics.core.equity import EquityHour, hour_of, hour_start, merge_hour, tells_more
from services.analytics.core.ledger import Fact, RoundFact, SignalFact, WalletFact
from services.analytics.core.portfolio import Anchor, Mark, anchor_of, merge_marks, rank_of
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

    def apply_all(self, facts: Sequence[Fact]) -> None:
        """Take in facts that are known in their order: the newest first, which changes most."""
        for fact in reversed(facts):
            self.apply(fact)

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
        known = self.equity.get((fact.account, hour_start(fact.time)))
        if known is not None and not tells_more(fact, known):
            return
        hour = hour_of(fact)
        if hour is not None:
            self.equity[hour.key] = merge_hour(hour, known)

    def _anchor(self, fact: RoundFact | WalletFact) -> None:
        known = self.anchors.get(fact.account)
        if known is not None and known.rank >= rank_of(fact):
            return
        anchor = anchor_of(fact)
        if anchor is not None:
            self.anchors[anchor.account] = anchor
            self.changed_anchors.add(anchor.account)
