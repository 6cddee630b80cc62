"""Does the ledger explain the wallet? What it says between two rounds against the fills."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Wallet:
    """The wallet at a round, which exec_risk holds to what the exchange says."""

    account: str
    time: int
    sequence: int
    balance: Decimal


@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """One comparison over the span between two rounds. Amounts in the quote asset."""

    since: Wallet
    until: Wallet
    booked: Decimal
    """Net of the fills and settlements of that span of the stream."""
    realized_difference: Decimal
    """Our gross profit less the exchange's own, of the trades that closed in the span."""

    @property
    def wallet_change(self) -> Decimal:
        """What the wallet did."""
        return self.until.balance - self.since.balance

    @property
    def difference(self) -> Decimal:
        """What no fill and no settlement explains: a transfer, or something that is missing."""
        return self.wallet_change - self.booked

    @property
    def agrees(self) -> bool:
        """True when both are equal to the cent."""
        return abs(self.difference) < CENT and abs(self.realized_difference) < CENT


def comparable(since: Wallet, until: Wallet) -> bool:
    """Say whether a span can be compared: the stream went on, so its places are in order."""
    return until.account == since.account and until.sequence > since.sequence
