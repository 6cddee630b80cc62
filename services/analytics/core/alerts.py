"""Alerts that hold now, derived from what is known at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from services.analytics.core.alerting.kinds import Severity, kind_of
from services.analytics.core.health import Status, SystemView
from services.analytics.core.learning.states import Learning, LearningStage
from services.analytics.core.work import Trouble

WATCHER = "analytics-os-service"
"""The process that watches: it is up when an alert is raised."""

__all__ = [
    "Alert",
    "LedgerState",
    "RiskNotice",
    "Severity",
    "derive",
    "of_learning",
    "of_troubles",
    "plain",
]


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should know, and since when it holds (wall time, seconds)."""

    type: str
    severity: Severity
    message: str
    component: str
    since: float
    metric: str = ""
    """Number that is out of bounds; empty when there is none."""
    value: float | None = None
    limit: float | None = None
    action: str = ""
    """What the system does about it by itself."""
    acted: bool = False
    """True when that was done."""

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
    """Closed trades whose net profit exec_risk reported differently."""
    overdue_directives: int = 0
    """Directives of the last hour that nobody carried out or refused by their deadline."""
    unexplained: str = ""
    """What the last comparison with the wallet found; empty when both agree to the cent."""
    risks: tuple[RiskNotice, ...] = ()
    """Grave ones of the last market hour."""


_DOWN = {
    Status.DOWN: "ServiceDown",
    Status.CRITICAL: "ServiceCritical",
    Status.DEGRADED: "ServiceDegraded",
}


def derive(
    view: SystemView,
    ledger: LedgerState,
    *,
    now: float,
    before: Mapping[tuple[str, str], Alert],
    more: Iterable[Alert] = (),
) -> dict[tuple[str, str], Alert]:
    """Return the alerts that hold, each with the time since when it does without a break."""
    found = [*_of_services(view, now), *_of_ledger(ledger, now), *more]
    return {
        alert.key: replace(
            alert, since=before[alert.key].since if alert.key in before else alert.since
        )
        for alert in found
    }


def plain(name: str, component: str, message: str, since: float) -> Alert:
    """Return an alert of a kind of the catalogue."""
    return Alert(name, kind_of(name).severity, message, component, since)


def of_troubles(troubles: Iterable[Trouble], now: float) -> list[Alert]:
    """Return the alerts about work that does not get done."""
    return [
        replace(
            plain(t.kind, t.component, f"{t.service}: {t.reason}" if t.service else t.reason, now),
            metric=t.kind,
            value=t.value,
            limit=t.limit,
        )
        for t in troubles
    ]


def of_learning(state: Learning, drifting: Sequence[str], now: float) -> list[Alert]:
    """Return the alerts about the models; `drifting` names what moved."""
    found = []
    if drifting:
        text = f"the active model drifts: {', '.join(drifting)}"
        found.append(plain("ModelDrift", "models", text, now))
    if state.stage is LearningStage.FAILED:
        why = "; ".join(state.reasons) or "no reason was told"
        text = f"{state.failures} trainings in a row failed, the last because: {why}"
        found.append(plain("LearningGivenUp", "trainer", text, now))
    return found


def _of_services(view: SystemView, now: float) -> Iterable[Alert]:
    others = [s for s in view.services if s.name != WATCHER]
    if len(others) > 1 and all(s.status is Status.DOWN for s in others):
        text = f"down: {', '.join(s.name for s in others)}"
        yield plain("SystemDown", "system", text, now)
    for service in view.services:
        if service.status in _DOWN:
            text = f"{service.name} is {service.status.text}: {service.reason}"
            yield plain(_DOWN[service.status], service.name, text, now)
    for part in view.parts:
        if part.status is not Status.HEALTHY:
            text = f"{part.name} is {part.status.text}: {part.reason}"
            kind = "PartDegraded" if part.status is Status.DEGRADED else "PartDown"
            yield plain(kind, part.name, text, now)


def _of_ledger(ledger: LedgerState, now: float) -> Iterable[Alert]:
    component = "ledger"
    if ledger.rejected_last_hour:
        text = (
            f"{ledger.rejected_last_hour} messages went to the dead-letter stream in the last"
            f" hour, the last because: {ledger.last_rejection}"
        )
        yield plain("DeadLetter", component, text, now)
    if ledger.settling_trades:
        text = f"{ledger.settling_trades} closed positions miss fills in the ledger"
        yield plain("LedgerIncomplete", component, text, now)
    if ledger.overdue_directives:
        text = f"{ledger.overdue_directives} directives were not answered by their deadline"
        yield plain("DirectiveOverdue", "fund", text, now)
    if ledger.disagreeing_trades:
        text = f"{ledger.disagreeing_trades} closed trades differ from exec_risk's own net profit"
        yield plain("PnlMismatch", component, text, now)
    if ledger.unexplained:
        yield plain("LedgerDiffers", component, ledger.unexplained, now)
    for risk in ledger.risks:
        text = f"{risk.message} (market time {risk.time})"
        yield Alert(risk.type, risk.severity, text, risk.component, now)
