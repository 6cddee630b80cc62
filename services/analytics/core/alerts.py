"""Alerts that hold now, derived from what is known at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.analytics.core.health import Status, SystemView


class Severity(StrEnum):
    """How urgent an alert is."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should know, and since when it holds (wall time, seconds)."""

    type: str
    severity: Severity
    message: str
    component: str
    since: float

    @property
    def key(self) -> tuple[str, str]:
        """What makes two alerts the same: kind and part."""
        return (self.type, self.component)


@dataclass(frozen=True, slots=True)
class RiskNotice:
    """A `risk.alert` fact of exec_risk: the newest of its kind for the same symbols."""

    account: str
    type: str
    """UPPER_SNAKE, as exec_risk names it."""
    severity: Severity
    symbols: tuple[str, ...]
    message: str
    time: str
    """Market time, for people."""

    @property
    def component(self) -> str:
        """Account and symbols concerned."""
        return "/".join((self.account, *self.symbols))


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What the ledger knows of its own completeness, and of what exec_risk warned of."""

    rejected_last_hour: int = 0
    last_rejection: str = ""
    settling_trades: int = 0
    """Trades reported closed whose fills the ledger does not hold."""
    disagreeing_trades: int = 0
    overdue_directives: int = 0
    """Directives of the last hour that nobody carried out or refused by their deadline."""
    """Closed trades whose net profit exec_risk reported differently."""
    unexplained: str = ""
    """What the last comparison with the wallet found; empty when both agree to the cent."""
    risks: tuple[RiskNotice, ...] = ()
    """Grave ones of the last market hour."""


_DOWN = {
    Status.DOWN: ("ServiceDown", Severity.CRITICAL),
    Status.CRITICAL: ("ServiceCritical", Severity.HIGH),
    Status.DEGRADED: ("ServiceDegraded", Severity.MEDIUM),
}


def derive(
    view: SystemView,
    ledger: LedgerState,
    *,
    now: float,
    before: Mapping[tuple[str, str], Alert],
) -> dict[tuple[str, str], Alert]:
    """Return the alerts that hold, each with the time since when it does without a break."""
    found = [*_of_services(view, now), *_of_ledger(ledger, now)]
    return {
        alert.key: Alert(
            type=alert.type,
            severity=alert.severity,
            message=alert.message,
            component=alert.component,
            since=before[alert.key].since if alert.key in before else now,
        )
        for alert in found
    }


def _of_services(view: SystemView, now: float) -> Iterable[Alert]:
    for service in view.services:
        if service.status in _DOWN:
            kind, severity = _DOWN[service.status]
            text = f"{service.name} is {service.status.text}: {service.reason}"
            yield Alert(kind, severity, text, service.name, now)
    for part in view.parts:
        if part.status is not Status.HEALTHY:
            text = f"{part.name} is {part.status.text}: {part.reason}"
            yield Alert("PartDown", Severity.CRITICAL, text, part.name, now)


def _of_ledger(ledger: LedgerState, now: float) -> Iterable[Alert]:
    component = "ledger"
    if ledger.rejected_last_hour:
        text = (
            f"{ledger.rejected_last_hour} messages went to the dead-letter stream in the last"
            f" hour, the last because: {ledger.last_rejection}"
        )
        yield Alert("DeadLetter", Severity.HIGH, text, component, now)
    if ledger.settling_trades:
        text = f"{ledger.settling_trades} closed positions miss fills in the ledger"
        yield Alert("LedgerIncomplete", Severity.HIGH, text, component, now)
    if ledger.overdue_directives:
        text = f"{ledger.overdue_directives} directives were not answered by their deadline"
        yield Alert("DirectiveOverdue", Severity.HIGH, text, "fund", now)
    if ledger.disagreeing_trades:
        text = f"{ledger.disagreeing_trades} closed trades differ from exec_risk's own net profit"
        yield Alert("PnlMismatch", Severity.HIGH, text, component, now)
    if ledger.unexplained:
        yield Alert("LedgerDiffers", Severity.HIGH, ledger.unexplained, component, now)
    for risk in ledger.risks:
        text = f"{risk.message} (market time {risk.time})"
        yield Alert(risk.type, risk.severity, text, risk.component, now)
