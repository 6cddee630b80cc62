"""The ledger of all that happened, and what it amounts to: trades, portfolio, health."""
