"""Whether the exchange answers this account, and if not, why. Pure; times are monotonic seconds.

`connected` is told to operators and to the readiness probe, so it is true only on proof: the key
and its signature were accepted lately (incident 49: a refused key kept a system alive but blind
for days), probes are answered, and no ban is in force.
"""

from __future__ import annotations

AUTHENTICATION_LIMIT = 3
"""So many refused keys in a row mean that the exchange is not connected."""
MISSED_PROBES_LIMIT = 2
SIGNED_FRESH_SECONDS = 30.0
SIGNED_PROBE_SECONDS = 10.0
"""A signed request is made when there was none for so long; three may fail before it is late."""


class ExchangeHealth:
    """Counts what the answers say."""

    def __init__(self) -> None:
        self._rejected_keys = 0
        self._rejection = ""
        self._missed_probes = MISSED_PROBES_LIMIT
        self._signed_at: float | None = None

    def key_rejected(self, reason: str) -> int:
        """Take an answer that refuses the key; return how many came in a row."""
        self._rejected_keys += 1
        self._rejection = reason
        return self._rejected_keys

    def signed(self, now: float) -> None:
        """Take the answer to a signed request that was accepted."""
        self._rejected_keys, self._signed_at = 0, now

    def probed(self, answered: bool) -> int:
        """Take the result of a probe; return how many were missed in a row."""
        self._missed_probes = 0 if answered else self._missed_probes + 1
        return self._missed_probes

    def needs_signed_probe(self, now: float) -> bool:
        """Return True when the key must be tried: it is doubtful, or was not used lately."""
        doubtful = self._rejected_keys > 0 or self._signed_at is None
        return doubtful or now - (self._signed_at or 0.0) >= SIGNED_PROBE_SECONDS

    @property
    def reachable(self) -> bool:
        """True while probes are answered."""
        return self._missed_probes < MISSED_PROBES_LIMIT

    @property
    def key_refusal(self) -> str:
        """Why the key is taken as refused; empty while it is not."""
        limit = AUTHENTICATION_LIMIT if self._signed_at is not None else 1
        return self._rejection if self._rejected_keys >= limit else ""

    def down_reason(self, now: float, banned: str) -> str:
        """Return why the exchange is not connected; empty when it is.

        `banned` tells until when the exchange wants no request at all; empty without a ban.
        """
        if banned:
            return f"banned by the exchange (418) until {banned}"
        if self.key_refusal:
            return f"the API key is refused: {self.key_refusal}"
        if not self.reachable:
            return "requests are not answered"
        if self._signed_at is None or now - self._signed_at > SIGNED_FRESH_SECONDS:
            return f"no signed request was accepted for {SIGNED_FRESH_SECONDS:.0f} s"
        return ""
