"""What can be wrong, each kind written once: rules, runbook, messages and tests read this table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

RUNBOOK = "docs/runbook.md"


class Severity(StrEnum):
    """How urgent an alert is."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"

    @property
    def rank(self) -> int:
        """Higher is graver."""
        return list(Severity).index(self)

    @property
    def fact(self) -> str:
        """The severity as `system.alert` events write it."""
        return ("INFO", "WARNING", "ERROR", "CRITICAL")[self.rank]

    @property
    def level(self) -> int:
        """Incident level of the operations guide: 1 for SEV-1 to 4 for SEV-4."""
        return 4 - self.rank


RESPONSE_MINUTES = {1: 15, 2: 30, 3: 120, 4: 1440}
"""By incident level: a person answers within."""


@dataclass(frozen=True, slots=True)
class AlertKind:
    """One kind of alert."""

    name: str
    severity: Severity
    means: str
    level: int = 0
    """Incident level; 0: that of the severity."""
    hold_seconds: float = 0.0
    """It must hold so long before a person is told."""
    quiet_seconds: float = 10.0
    """Its cause must be gone so long before it counts as resolved."""
    by: str = "analytics"
    """Who finds it: analytics, or Prometheus by a rule of mesh/observability/rules/system.yml."""


_C, _H, _M, _L = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW
PROMETHEUS = "prometheus"

KINDS = (
    AlertKind("SystemDown", _C, "no service but analytics is up"),
    AlertKind("ServiceDown", _C, "no replica of a service gives a sign of life", level=2),
    AlertKind("ServiceCritical", _H, "a service says that it cannot do its work"),
    AlertKind("ServiceDegraded", _M, "a service works with a fault", hold_seconds=5.0),
    AlertKind("ServiceRestarted", _M, "a supervisor had to start a replica again", hold_seconds=0),
    AlertKind("PartDown", _C, "a backing part does not answer", level=2),
    AlertKind("PartDegraded", _M, "a backing part works with a fault"),
    AlertKind("StreamFilling", _H, "a stream that refuses when it is full is nearly full"),
    AlertKind("ConsumerStuck", _H, "messages wait and none is handled"),
    AlertKind("ConsumerLag", _M, "more and more messages wait"),
    AlertKind("OutboxStuck", _H, "facts are stored and not published"),
    AlertKind("MarketStill", _M, "market time has not moved for minutes", quiet_seconds=0.0),
    AlertKind("NoTrades", _M, "an hour of signals without one fill", quiet_seconds=60.0),
    AlertKind("LargeLoss", _C, "the day's loss is above LARGE_LOSS_USD", quiet_seconds=300.0),
    AlertKind("HighMemory", _M, "a process holds much of the machine's memory", hold_seconds=60.0),
    AlertKind("DeadLetter", _H, "a message could not be handled and was put aside"),
    AlertKind("LedgerIncomplete", _H, "a closed position misses fills", hold_seconds=30.0),
    AlertKind("PnlMismatch", _H, "the ledger and exec_risk differ about a trade's profit"),
    AlertKind("LedgerDiffers", _H, "the wallet changed by what the ledger does not hold"),
    AlertKind("DirectiveOverdue", _H, "a directive of the fund was not applied in time"),
    AlertKind("ModelDrift", _M, "the market or the results are other than the model knows"),
    AlertKind("LearningGivenUp", _M, "too many trainings failed in a row", quiet_seconds=0.0),
    AlertKind("RecoveryGivenUp", _C, "a replica was healed as often as is allowed", level=2),
    AlertKind("AlertNotDelivered", _H, "a message about an alert reached nobody"),
    AlertKind("RuleUnreadable", _M, "Alertmanager told of an alert without a name"),
    AlertKind("PlannedMaintenance", _M, "an operator announced maintenance", level=4),
    AlertKind("HighErrorRate", _C, "more than 5 % of calls fail", level=2, by=PROMETHEUS),
    AlertKind("HighLatency", _M, "signals take longer than 2 s", by=PROMETHEUS),
    AlertKind("HighMemoryUsage", _M, "a container is near its limit", by=PROMETHEUS),
    AlertKind("AnalyticsDown", _C, "nobody watches: analytics is not up", by=PROMETHEUS),
)
_BY_NAME = {kind.name: kind for kind in KINDS}


def kind_of(name: str, severity: Severity = Severity.MEDIUM) -> AlertKind:
    """Return the kind; exec_risk's own ones (UPPER_SNAKE) stand in the runbook alone."""
    return _BY_NAME.get(name) or AlertKind(name, severity, "")


def level_of(name: str, severity: Severity) -> int:
    """Return the incident level of an alert."""
    return kind_of(name, severity).level or severity.level


def runbook_of(name: str, base: str = RUNBOOK) -> str:
    """Return the place in the runbook: the heading begins with the kind's name."""
    return f"{base}#{name.lower()}"
