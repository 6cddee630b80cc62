"""Symbols that move together share one limit.

The clusters are a table, not measured correlations: a table gives the same decision after a
restart and in every replay. What is in no cluster shares the cluster `other`: nothing is known
that would tell its risk apart.
"""

from __future__ import annotations

from collections.abc import Mapping

OTHER = "other"
_TABLE = {
    "majors": ("BTC", "ETH"),
    "platforms": ("SOL", "ADA", "AVAX", "DOT", "NEAR", "ATOM", "APT", "SUI", "MATIC", "POL", "TRX"),
    "exchanges": ("BNB", "OKB", "CRO"),
    "payments": ("XRP", "XLM", "LTC", "BCH", "ETC"),
    "memes": ("DOGE", "SHIB", "1000SHIB", "PEPE", "1000PEPE", "WIF"),
    "finance": ("LINK", "UNI", "AAVE", "MKR", "ARB", "OP"),
}
DEFAULT_CLUSTERS = {f"{coin}USDT": name for name, coins in _TABLE.items() for coin in coins}
"""Cluster by symbol."""


def cluster_of(symbol: str, clusters: Mapping[str, str]) -> str:
    """Return the name of the symbol's cluster."""
    return clusters.get(symbol, OTHER)


def parse(text: str) -> dict[str, str]:
    """Read `name=SYMBOL,SYMBOL;name=SYMBOL`; empty means the default table.

    ValueError for a part without a name or symbols, or a symbol in two clusters.
    """
    if not text.strip():
        return dict(DEFAULT_CLUSTERS)
    found: dict[str, str] = {}
    for part in text.split(";"):
        name, _, members = (piece.strip() for piece in part.partition("="))
        symbols = [symbol.strip() for symbol in members.split(",")]
        if not name or not all(symbols):
            raise ValueError(f"clusters: {part!r} is not name=SYMBOL,SYMBOL")
        for symbol in symbols:
            if symbol in found:
                raise ValueError(f"clusters: {symbol} is in {found[symbol]} and in {name}")
            found[symbol] = name
    return found
