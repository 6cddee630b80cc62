"""Self-healing: asks the supervisor in use to heal what the rules call sick, and hears what it did.

The request travels on the bus; only a supervisor acts. It is stored before it is made, and counts
as done only when the supervisor says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import DecodeError
from quantum.analytics.v1 import alerts_pb2 as pb
from quantum.ops.v1 import operations_service_pb2 as ops

from services.analytics.alerts.rows import moment
from services.analytics.core.alerts import Alert, plain
from services.analytics.core.healing.diagnosis import critical_since, diagnose
from services.analytics.core.healing.rules import (
    Action,
    HealingLimits,
    Histories,
    Order,
    Who,
    decide,
    forgive,
    touched,
)
from services.analytics.core.health import Status, SystemView
from services.analytics.health.recovery_store import RecoveryStore
from services.analytics.health.sight import Sight
from services.analytics.metrics import AnalyticsMetrics
from services.catalog import subjects
from services.catalog.events import RECOVERY_ASKED
from services.catalog.processes import ANALYTICS
from services.kit.bus.bus import Bus, BusRefused, BusUnavailable, Message
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import TRANSIENT
from services.kit.postgres.lease import Fenced
from services.trade.ids import digest

log = get_logger(__name__)

TOLD_SECONDS = 10.0
"""A restart shows as an alert for so long."""
GIVEN_UP = "RecoveryGivenUp"
RESTARTED = "ServiceRestarted"
_RESTARTS = (Action.RESTART.value, Action.TAKE_OVER.value)
_ASK_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class HealingOptions:
    """What may be done."""

    enabled: bool
    """False: nothing is asked."""
    restarts: bool
    """False: nothing is restarted, nor set aside; what was set aside still returns."""
    limits: HealingLimits
    heartbeat_timeout: float
    expected: tuple[str, ...]


class Recovery:
    """The healing of one replica of analytics; it acts while that one leads."""

    def __init__(
        self, *, store: RecoveryStore, metrics: AnalyticsMetrics, options: HealingOptions
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._options = options
        self._bus: Bus | None = None
        self._histories: Histories = {}
        self._saved: Histories | None = None
        self._critical: dict[Who, float] = {}
        self._asked: dict[str, Order] = {}
        self._told: dict[str, ops.RecoveryDone] = {}
        self._restarted: dict[Who, tuple[float, str]] = {}
        self.restarts = 0
        """Restarts that this replica asked for and a supervisor did."""
        for action in Action:
            for answer in ("done", "refused"):
                metrics.recoveries.labels(action.value, answer)

    async def listen(self, bus: Bus) -> None:
        """Ask through this connection, and hear what supervisors do."""
        self._bus = bus
        await bus.follow(subjects.LIVE.name, subjects.ALL_RECOVERIES_DONE, self.hear)

    def hear(self, message: Message) -> None:
        """Take in what a supervisor did."""
        try:
            told = ops.RecoveryDone.FromString(message.data)
        except DecodeError:
            log.error("recovery_unreadable", subject=message.subject, at=message.sequence)
            return
        at = told.time.ToMilliseconds() / 1000
        who = (told.service_name, told.instance)
        self._told[told.recovery_id] = told
        if told.done and told.action in _RESTARTS:
            self._histories = touched(self._histories, who, at)
        if told.recovery_id in self._asked:
            order = self._asked.pop(told.recovery_id)
            answer = "done" if told.done else "refused"
            self._metrics.recoveries.labels(order.action.value, answer).inc()
            if told.done and told.action in _RESTARTS:
                self.restarts += 1
                self._metrics.auto_restarts.inc()
            log.warning("recovery_answered", instance=told.instance, answer=answer)

    @property
    def news(self) -> bool:
        """True while something was told that is not taken in yet."""
        return bool(self._told)

    async def take(self, now: float) -> None:
        """Store what was told; what is new shows as an alert from now on."""
        try:
            for key, told in list(self._told.items()):
                new = await self._store.done(
                    key,
                    told.action,
                    told.service_name,
                    told.instance,
                    told.reason,
                    asked=told.asked,
                    at=told.time.ToMilliseconds() / 1000,
                    done=told.done,
                )
                del self._told[key]
                if new and told.done and told.action in _RESTARTS:
                    self._restarted[told.service_name, told.instance] = (now, told.reason)
        except TRANSIENT as error:
            log.warning("recoveries_not_stored", error=str(error))

    def alerts(self, now: float) -> list[Alert]:
        """Return the alerts about healing that hold now."""
        found = []
        for (service, instance), (at, reason) in list(self._restarted.items()):
            if now - at >= TOLD_SECONDS:
                del self._restarted[service, instance]
                continue
            text = f"{instance} of {service} was started again: {reason}"
            alert = plain(RESTARTED, instance or service, text, at)
            found.append(replace(alert, action="RESTART", acted=True))
        for (service, instance), history in self._histories.items():
            if history.given_up:
                text = (
                    f"{instance} of {service} was started again {self._options.limits.most} times"
                    f" and is still sick: {history.reason}; hands are kept off it until it is well"
                    " or a person acknowledges this"
                )
                found.append(plain(GIVEN_UP, f"{service}/{instance}", text, now))
        return found

    async def look(self, view: SystemView, sight: Sight, stored: Sequence[Any], now: float) -> None:
        """Decide what is to be done now, store it, ask for it."""
        try:
            await self._load()
            orders = self._decide(view, sight, stored, now)
            asked = {self._id(order, now): order for order in orders}
            await self._store.save(
                self._saved or {},
                self._histories,
                {key: (*_words(order), moment(now)) for key, order in asked.items()},
            )
            self._saved = dict(self._histories)
        except Fenced:
            self._saved = None
            return
        except TRANSIENT as error:
            log.warning("recovery_not_stored", error=str(error))
            return
        for key, order in asked.items():
            await self._ask(key, order, now)

    async def _load(self) -> None:
        if self._saved is None:
            heard = self._histories
            self._saved = await self._store.load()
            self._histories = dict(self._saved)
            for who, history in heard.items():
                self._histories = touched(self._histories, who, history.touched_at)

    def _decide(
        self, view: SystemView, sight: Sight, stored: Sequence[Any], now: float
    ) -> tuple[Order, ...]:
        options = self._options
        self._critical = critical_since(self._critical, view, now)
        for row in stored:
            if row["alert_type"] == GIVEN_UP and row["acknowledged"]:
                service, _, instance = row["component"].partition("/")
                self._histories = forgive(self._histories, (service, instance))
        sick = diagnose(
            view,
            sight.troubles,
            sight.heartbeats(),
            self._critical,
            now=now,
            heartbeat_timeout=options.heartbeat_timeout,
            expected=options.expected,
        )
        if not options.enabled or self._bus is None:
            return ()
        well = [
            (service.name, replica.instance)
            for service in view.services
            for replica in service.replicas
            if replica.status is Status.HEALTHY
        ]
        patients = sick if options.restarts else ()
        decided = decide(self._histories, patients, well, now=now, limits=options.limits)
        self._histories = decided.histories
        return decided.orders

    async def _ask(self, key: str, order: Order, now: float) -> None:
        assert self._bus is not None  # noqa: S101 - nothing is decided before it is there
        message = pb.RecoveryAsked(
            recovery_id=key,
            action=order.action.value,
            service_name=order.service,
            instance=order.instance,
            reason=order.reason,
        )
        message.time.FromMilliseconds(int(now * 1000))
        self._asked[key] = order
        log.warning(
            "recovery_asked",
            action=order.action.value,
            instance=order.instance,
            reason=order.reason,
        )
        try:
            await self._bus.publish(
                subjects.recovery_asked(order.service),
                message.SerializeToString(),
                message_id=key,
                headers={
                    subjects.HEADER_TYPE: RECOVERY_ASKED,
                    subjects.HEADER_SOURCE: ANALYTICS.name,
                    subjects.HEADER_TIME: str(int(now * 1000)),
                },
                deadline=_ASK_SECONDS,
            )
        except (BusUnavailable, BusRefused) as error:
            log.warning("recovery_not_asked", instance=order.instance, error=str(error))

    def _id(self, order: Order, now: float) -> str:
        return digest("recovery", order.action, order.service, order.instance, int(now * 1000))


def _words(order: Order) -> tuple[str, str, str, str]:
    return (order.action.value, order.service, order.instance, order.reason)
