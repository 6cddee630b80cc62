"""The fund's policy as the account holds to it, besides its own limits: the strictest wins.

Only entries are asked. A version holds from its market time on; until one does, and while newer
ones could not arrive, there are no entries.
"""

from __future__ import annotations

from services.exec_risk.core.effects import StoreFundPolicy
from services.exec_risk.core.inputs import PolicyRead
from services.exec_risk.core.state import Book
from services.trade.fund_modes import ModeLimits, limits_in
from services.trade.fund_policy import FundPolicy
from services.trade.policy_book import PolicyBook


def read(book: Book, event: PolicyRead) -> None:
    """Take in versions; each that is news is kept, so that a restart decides the same."""
    for policy in event.policies:
        if book.fund.learn(policy):
            book.emit(StoreFundPolicy(policy))
    current = policy_of(book)
    if current is not None and current is not book.fund.versions[0]:
        # market time does not go back: what was before holds never again
        later = [p for p in book.fund.versions if p.version >= current.version]
        book.fund = PolicyBook(later)


def policy_of(book: Book) -> FundPolicy | None:
    """Return the version that holds now; None before the first."""
    return book.fund.at(book.time)


def limits_of(book: Book) -> ModeLimits | None:
    """Return its limits; None before the first version, when the account's own hold alone."""
    policy = policy_of(book)
    return None if policy is None else limits_in(policy)


def unreadable(book: Book) -> str:
    """Return why the policy is not known; empty when it is, or is not needed."""
    if not book.policy.fund_required:
        return ""
    if book.gates.policy_away:
        return "newer versions of the fund's policy could not arrive"
    return "no fund policy has been read" if policy_of(book) is None else ""
