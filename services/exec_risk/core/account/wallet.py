"""What the exchange tells of the wallet, and which of it is a transfer."""

from __future__ import annotations

from services.exec_risk.core import emergency
from services.exec_risk.core.exchange_events import WalletReport
from services.exec_risk.core.state import Book

TRANSFERS = frozenset(
    {
        "DEPOSIT",
        "WITHDRAW",
        "WITHDRAW_REJECT",
        "ADMIN_DEPOSIT",
        "ADMIN_WITHDRAW",
        "MARGIN_TRANSFER",
        "ASSET_TRANSFER",
        "OPTIONS_TRANSFER",
        "COIN_SWAP_DEPOSIT",
        "COIN_SWAP_WITHDRAW",
    }
)
"""Causes of a wallet report that bring or take money; any other change is profit or loss."""


def told(book: Book, report: WalletReport) -> None:
    """Fills and funding make the wallet; only what neither explains is taken over."""
    if report.cause in ("ORDER", "FUNDING_FEE"):
        return
    before, book.wallet = book.wallet, report.wallet_balance
    if before is not None and report.cause in TRANSFERS:
        emergency.moved(book, report.wallet_balance - before)
