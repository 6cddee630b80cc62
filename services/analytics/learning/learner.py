"""The learning loop of the one replica that holds the lease: outcomes, drift, the next step."""

from __future__ import annotations

import asyncio

from google.protobuf.message import DecodeError
from quantum.ai.v1 import registry_pb2

from services.analytics.core.learning import lifecycle
from services.analytics.core.learning.promotion_watch import Outcome
from services.analytics.core.learning.samples import ENSEMBLE, Stage
from services.analytics.core.learning.states import Change, LearningStage, Look, Step, ask, wanted
from services.analytics.core.learning.tally import NOTHING, Tally
from services.analytics.learning.codec import event_of
from services.analytics.learning.jobs import Heard, Jobs, NoCandles
from services.analytics.learning.model_calls import Away, ModelCalls, Refused
from services.analytics.learning.outcomes import Outcomes
from services.analytics.learning.progress import Progress
from services.analytics.learning.samples_store import TallyKey
from services.analytics.learning.settings import LearningSettings
from services.analytics.learning.store import LearningStore
from services.analytics.learning.views import LearningViews
from services.analytics.learning.window_watch import WindowWatch
from services.analytics.metrics import LearningMetrics
from services.catalog import subjects
from services.kit.bus.bus import Bus, BusRefused, BusUnavailable, Follower, Message
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import TRANSIENT
from services.kit.postgres.lease import Fenced, Lease

log = get_logger(__name__)

_AGAIN: tuple[type[BaseException], ...] = (BusUnavailable, Fenced, TimeoutError, *TRANSIENT)
_SILENT_SECONDS = 900.0
"""A trainer that says nothing of its job for so long has lost it."""


class Learner:
    """Runs while this replica holds the lease; a standby waits for it."""

    def __init__(
        self,
        *,
        bus: Bus,
        clock: Clock,
        lease: Lease,
        store: LearningStore,
        views: LearningViews,
        outcomes: Outcomes,
        windows: WindowWatch,
        jobs: Jobs,
        models: ModelCalls,
        settings: LearningSettings,
        metrics: LearningMetrics,
        degraded: dict[str, str],
    ) -> None:
        """`degraded`: where the process tells what is wrong although it is ready."""
        self._degraded = degraded
        self._bus = bus
        self._clock = clock
        self._lease = lease
        self._store = store
        self._views = views
        self._outcomes = outcomes
        self._windows = windows
        self._jobs = jobs
        self._models = models
        self._settings = settings
        self._metrics = metrics
        self._rules = settings.learning_rules
        self._progress = Progress()
        self._shadow = ""
        self._sent = ""
        self._heard_at = 0.0

    async def run(self) -> None:
        """Learn for ever."""
        while True:
            await self._lease.wait()
            lost = asyncio.Event()
            keeper = asyncio.create_task(self._lease.keep(lost.set), name="learning-lease")
            try:
                await self._hold(lost)
            except _AGAIN as error:
                log.warning("learning_begins_again", error=str(error))
            except Exception as error:
                # The ledger goes on without learning; that it does not learn is told.
                self._degraded["learning"] = f"{type(error).__name__}: {error}"
                self._metrics.errors.labels("learning").inc()
                log.exception("learning_failed")
            finally:
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)
            await self._clock.sleep(self._settings.clm_interval)

    async def _hold(self, lost: asyncio.Event) -> None:
        self._outcomes.begin()
        self._progress = await self._store.load()
        follower: Follower = await self._bus.follow(
            subjects.MARKET.name, subjects.ALL_OF_MARKET, self._outcomes.candles
        )
        pointer = await self._bus.follow(
            subjects.POLICY.name, subjects.SHADOW_MODEL, self._point, start="last"
        )
        try:
            await follower.caught_up.wait()
            await pointer.caught_up.wait()
            await self._jobs.start()
            self._heard_at = self._clock.monotonic()
            while not lost.is_set():
                await self._turn()
                await self._clock.sleep(self._settings.clm_interval)
        finally:
            await follower.stop()
            await pointer.stop()
            await self._jobs.stop()

    async def _turn(self) -> None:
        """One look: nothing in it is lost when it is interrupted."""
        await self._outcomes.keep_candles(self._progress.judged_until)
        self._progress = await self._outcomes.judge(self._progress)
        if not self._progress.judged_until:
            return
        await self._windows.look(self._progress)
        await self._listen()
        await self._decide()
        await self._act()
        self._show()

    def _point(self, message: Message) -> None:
        try:
            self._shadow = registry_pb2.ModelPointer.FromString(message.data).version
        except DecodeError:
            log.error("pointer_unreadable", subject=message.subject)

    async def _listen(self) -> None:
        """Take in what the trainer said, and requests of people."""
        now = self._progress.judged_until
        for heard in self._jobs.take():
            if heard.job_id == self._progress.state.job_id:
                self._heard_at = self._clock.monotonic()
            await self._take(self._heard(heard, now))
        for request_id, reason in await self._store.requests():
            before = self._progress.state
            self._progress.state, _ = ask(before, reason)
            try:
                await self._store.save(self._progress, taken=[request_id])
            except BaseException:
                self._progress.state = before
                raise

    def _heard(self, heard: Heard, now: int) -> Change:
        state = self._progress.state
        if heard.state == "RUNNING":
            return lifecycle.started(state, heard.job_id, now, heard.progress)
        if heard.state == "COMPLETED":
            return lifecycle.completed(state, heard.job_id, heard.version, now, self._rules)
        if state.stage not in (LearningStage.REQUESTED, LearningStage.TRAINING):
            return Change(state)
        reason = heard.error or heard.state.lower()
        return lifecycle.failed(state, heard.job_id, reason, now, self._rules)

    async def _decide(self) -> None:
        state, progress = self._progress.state, self._progress
        tallies: dict[TallyKey, Tally] = {}
        if state.stage in (LearningStage.SHADOW, LearningStage.PROMOTED):
            tallies = await self._views.tallies(state.since, progress.judged_until)
        trades: tuple[Outcome, ...] = ()
        if state.stage is LearningStage.PROMOTED and state.settled:
            trades = await self._views.trades(state.candidate, state.since)
        candidate = Stage.SHADOW if state.stage is LearningStage.SHADOW else Stage.ACTIVE
        seen = Look(
            now=progress.judged_until,
            enabled=self._settings.clm_enabled,
            active=progress.active_version,
            shadow=self._shadow,
            urgent=await self._windows.urgent(progress),
            drift=self._windows.drifting(progress),
            candidate=tallies.get((candidate, state.candidate, ENSEMBLE), NOTHING),
            active_tally=tallies.get((Stage.ACTIVE, state.before, ENSEMBLE), NOTHING),
            trades=trades,
        )
        await self._take(lifecycle.look(state, seen, self._rules))

    async def _take(self, change: Change) -> None:
        before = self._progress.state
        if change == Change(before):
            return
        now = self._progress.judged_until
        self._progress.state = change.state
        told = [event_of(t, change.state, before, self._progress.samples, now) for t in change.told]
        try:
            await self._store.save(self._progress, told)
        except BaseException:
            self._progress.state = before
            raise
        for step in change.told:
            log.info("learning_step", step=step.step.value, reasons=list(step.reasons))
            if step.step is Step.RETRAINING_REQUESTED:
                self._heard_at = self._clock.monotonic()

    async def _act(self) -> None:
        """Bring about what the state calls for; repeating it changes nothing."""
        state, now = self._progress.state, self._progress.judged_until
        try:
            if state.stage is LearningStage.REQUESTED and self._sent != state.job_id:
                await self._jobs.request(state, now, self._clock.now())
                self._sent = state.job_id
            elif state.stage in (LearningStage.REQUESTED, LearningStage.TRAINING):
                await self._overdue()
            else:
                await self._place()
        except (NoCandles, Refused) as error:
            reason = str(error)
            await self._take(lifecycle.failed(state, state.job_id, reason, now, self._rules))
        except (Away, BusUnavailable, BusRefused) as error:
            self._metrics.errors.labels("learning").inc()
            log.warning("learning_waits", stage=state.stage.value, error=str(error))

    async def _overdue(self) -> None:
        state = self._progress.state
        silent = self._clock.monotonic() - self._heard_at
        if silent < max(_SILENT_SECONDS, 60 * self._settings.clm_training_minutes):
            return
        await self._jobs.cancel(state.job_id, "nothing was heard of it")
        reason = f"the trainer said nothing for {silent:.0f} s"
        now = self._progress.judged_until
        await self._take(lifecycle.failed(state, state.job_id, reason, now, self._rules))

    async def _place(self) -> None:
        state = self._progress.state
        active, shadow = wanted(state)
        reason = "; ".join(state.reasons)[:400] or "continuous learning"
        if shadow is not None:
            await self._models.shadow(shadow, state.job_id, reason)
        if state.stage is LearningStage.ROLLED_BACK and active is not None:
            await self._models.roll_back(state.candidate, state.job_id, reason)
        elif active is not None:
            await self._models.activate(active, state.job_id, reason)

    def _show(self) -> None:
        progress = self._progress
        self._degraded.pop("learning", None)
        self._metrics.drift.set(bool(progress.drifting))
        self._metrics.retrainings.set(progress.state.triggered)
        self._metrics.given_up.set(progress.state.stage is LearningStage.FAILED)
