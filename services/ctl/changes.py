"""Which commands of `qt` change something. Pure, and quick to import."""

from __future__ import annotations

from collections.abc import Sequence

READS = frozenset(
    {
        *("ps", "logs", "positions", "pnl", "signals", "report", "trade", "opportunities"),
        *("verify", "health", "simulate", "trace", "run", "reconcile"),
        *("alerts list", "alerts show", "backup list", "backup verify", "backup schedule"),
        *("certs show", "events info", "events tail", "events show", "dlq list", "dlq show"),
        *("maintenance status", "models performance", "models hits", "models list", "models show"),
        *("models compare", "order list", "policy show", "policy history", "token keys"),
        *("venue fault list", "certs keep", "stats", "doctor", "check daily", "db size"),
        *("diagnose service-down", "diagnose latency", "diagnose errors", "diagnose inconsistency"),
    }
)
"""Commands that change nothing, or that run a part of the system in the foreground."""
CHANGES = frozenset(
    {
        *("up", "down", "restart", "restore", "drain", "scale", "streams", "identities", "setup"),
        *("alerts ack", "backup", "certs rotate", "certs rotate-ca", "db archive"),
        *("db restore-archive", "dlq retry", "dlq drop", "maintenance on", "maintenance off"),
        *("maintenance run", "models train", "models retrain", "models add", "models deploy"),
        *("models rollback", "order submit", "order cancel", "policy set", "policy rollback"),
        *("policy rebalance", "token rotate", "venue fault add", "venue fault clear"),
        *("db analyze", "db vacuum", "db reindex", "db migrate", "db psql"),
        *("emergency stop", "emergency reset", "state set", "reconcile --apply"),
    }
)
"""Commands that change something: each is told with who, what and why."""


def changing(arguments: Sequence[str]) -> str:
    """Return the name of the command if it changes something; empty when it does not."""
    words = [word for word in arguments if not word.startswith("-")]
    if "--help" in arguments:
        return ""
    if words[:1] == ["reconcile"]:
        return "reconcile --apply" if "--apply" in arguments else ""
    for length in (3, 2, 1):
        name = " ".join(words[:length])
        if name in READS:
            return ""
        if name in CHANGES:
            return name
    return ""
