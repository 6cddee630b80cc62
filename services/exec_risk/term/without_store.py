"""What the leader may do while PostgreSQL does not take what it decided.

Nobody can tell then whether the server is gone for all or only for us: behind a partition a
standby may take the lease. So only that is sent which is harmless twice: cancels, questions, and
reduce-only orders under the ids of their decisions, which the exchange itself refuses to let open
anything. See docs/decisions/0009.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.exec_risk.core.actions import Action, Cancel, Place, Reconcile, Resolve, SetLeverage
from services.exec_risk.core.exchange_events import OrderReport, Refused
from services.exec_risk.core.facts import EmergencyStopped
from services.exec_risk.core.inputs import Input, LeverageAnswered, PlaceAnswered
from services.exec_risk.core.reconciling.differences import OUR_IDS
from services.exec_risk.term.keeper import Step
from services.exec_risk.term.latch_file import LatchFile
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

NOT_SENT = Refused("not_sent", "PostgreSQL did not take it in time")


def reduces(action: Action) -> bool:
    """Tell whether an action can only lessen what is held, whoever else leads."""
    if isinstance(action, Place):
        return action.order.reduce_only
    return isinstance(action, Cancel | Resolve | Reconcile)


class WithoutStore:
    """Carries out what only reduces; the rest waits (lockstep) or is withdrawn."""

    def __init__(
        self,
        clock: Clock,
        latch_file: LatchFile,
        *,
        carry_out: Callable[[Action, int], None],
        report: Callable[[Input], None],
    ) -> None:
        self._clock = clock
        self._latch_file = latch_file
        self._carry_out = carry_out
        self._report = report
        self._another_leads = False

    def heard(self, report: OrderReport, *, known: bool) -> None:
        """Notice an entry under an id like ours that we did not decide: another replica leads."""
        ours = report.client_order_id.startswith(OUR_IDS)
        if not known and ours and not report.reduce_only and not self._another_leads:
            self._another_leads = True
            log.error("another_replica_leads", order=report.client_order_id)

    def back(self) -> None:
        """The store answers again: its fence decides from here on."""
        self._another_leads = False

    def _stopped(self, step: Step) -> None:
        """Put an emergency stop of this step on disk until PostgreSQL has it."""
        for change in step.changes:
            if isinstance(change, EmergencyStopped):
                self._latch_file.write(change.latch)
                step.then.append(lambda _: self._latch_file.remove())

    def act(self, actions: Sequence[Action], step: Step, *, lockstep: bool) -> None:
        """Send what reduces, signed with the time of now.

        Entries are withdrawn: told to the core as never sent. Where the market waits for us
        (lockstep) nothing grows old, and they are sent once their step is kept.
        """
        self._stopped(step)
        now = int(self._clock.now().timestamp() * 1000)
        later = []
        for action in actions:
            if not reduces(action):
                later.append(action)
            elif not self._another_leads:
                self._carry_out(action, now)
            else:
                log.error("not_sent_another_leads", action=type(action).__name__)
        if lockstep and later:
            step.then.append(lambda signed_at: self._all(later, signed_at))
        elif later:
            self._withdraw(later)

    def _all(self, actions: Sequence[Action], signed_at: int) -> None:
        for action in actions:
            self._carry_out(action, signed_at)

    def _withdraw(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Place):
                self._report(PlaceAnswered(action.order.client_order_id, NOT_SENT))
            elif isinstance(action, SetLeverage):
                self._report(LeverageAnswered(action.symbol, None, NOT_SENT.message))
