"""What people are told about an alert, and when a message is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.analytics.core.alerting.book import OpenAlert
from services.analytics.core.alerting.kinds import RESPONSE_MINUTES, Severity, level_of, runbook_of

MOST_ATTEMPTS = 8
"""After so many tries a message counts as not delivered: about two minutes."""
_LONGEST_PAUSE = 60.0


class State(StrEnum):
    """What a message tells."""

    RAISED = "raised"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Notice:
    """One message about one alert: at most one of each state is sent through a channel."""

    alert_id: str
    state: State
    alert_type: str
    severity: Severity
    component: str
    message: str
    since: float
    """Wall seconds."""
    time: float
    """Wall time of the change, seconds."""
    runbook: str

    @property
    def level(self) -> int:
        """Incident level, 1 to 4."""
        return level_of(self.alert_type, self.severity)

    @property
    def response_minutes(self) -> int:
        """A person answers within so many minutes."""
        return RESPONSE_MINUTES[self.level]

    @property
    def title(self) -> str:
        """One line: the subject of an e-mail."""
        if self.state is State.RESOLVED:
            return f"[resolved] {self.alert_type}: {self.component}"
        return f"[SEV-{self.level} {self.severity}] {self.alert_type}: {self.component}"

    @property
    def text(self) -> str:
        """The whole message, plain."""
        lines = [self.message]
        if self.state is State.RESOLVED:
            lines = [f"Over after {_span(self.time - self.since)}. It was: {self.message}"]
        else:
            lines.append(f"Answer within {_span(60.0 * self.response_minutes)}.")
            lines.append(f"Take it: qt alerts ack {self.alert_id[:12]}")
        return "\n".join([*lines, f"What to do: {self.runbook}"])


def notice(entry: OpenAlert, state: State, now: float, runbook_base: str) -> Notice:
    """Return the message about an alert."""
    alert = entry.alert
    return Notice(
        alert_id=entry.alert_id,
        state=state,
        alert_type=alert.type,
        severity=alert.severity,
        component=alert.component,
        message=alert.message,
        since=alert.since,
        time=now,
        runbook=runbook_of(alert.type, runbook_base),
    )


def pause_after(attempts: int) -> float | None:
    """Return the seconds until the next try after so many failed ones; None: give up."""
    if attempts >= MOST_ATTEMPTS:
        return None
    return min(_LONGEST_PAUSE, float(2 ** max(0, attempts - 1)))


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h"
