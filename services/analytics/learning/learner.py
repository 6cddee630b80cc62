"""The learning loop of the one replica that holds the lease: outcomes, drift, the next step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from google.protobuf.message import DecodeError
from quantum.ai.v1 import registry_pb2
from quantum.market.v1 import market_pb2

from services.analytics.core.learning import drift, lifecycle, supervisor
from services.analytics.core.learning.candle_book import CandleBook, Chunk, SeriesKey
from services.analytics.core.learning.lifecycle import Change, LearningStage, Look, Step, Told
from services.analytics.core.learning.samples import (
    ENSEMBLE,
    WINDOW,
    Answer,
    Stage,
    due_before,
    judge,
)
from services.analytics.core.learning.tally import NOTHING, Tally
from services.analytics.learning.codec import answers_of, drift_of, event_of
from services.analytics.learning.jobs import Heard, Jobs, NoCandles
from services.analytics.learning.model_calls import Away, ModelCalls, Refused
from services.analytics.learning.references import References
from services.analytics.learning.settings import LearningSettings
from services.analytics.learning.store import LearningStore, Progress, TallyKey
from services.analytics.learning.views import LearningViews
from services.analytics.metrics import LearningMetrics
from services.catalog import subjects
from services.kit.bus import Bus, BusRefused, BusUnavailable, Follower, Message
from services.kit.clock import Clock
from services.kit.db import TRANSIENT
from services.kit.lease import Fenced, Lease
from services.kit.logs import get_logger
from services.trade.barrier_label import LabelRule
from services.trade.times import DAY_MS, timeframe_ms

log = get_logger(__name__)

_AGAIN: tuple[type[BaseException], ...] = (BusUnavailable, Fenced, TimeoutError, *TRANSIENT)
KEEP = 512
"""Candles of each symbol in memory: as many as the stream gives back after a restart."""
_BATCHES = 40
"""Prediction batches judged at once: other work of the process goes on in between."""
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
        references: References,
        jobs: Jobs,
        models: ModelCalls,
        settings: LearningSettings,
        metrics: LearningMetrics,
        rule: LabelRule,
        degraded: dict[str, str],
    ) -> None:
        """`degraded`: where the process tells what is wrong although it is ready."""
        self._degraded = degraded
        self._bus = bus
        self._clock = clock
        self._lease = lease
        self._store = store
        self._views = views
        self._references = references
        self._jobs = jobs
        self._models = models
        self._settings = settings
        self._metrics = metrics
        self._rule = rule
        self._rules = settings.learning_rules
        self._book = CandleBook(KEEP)
        self._noted = 0
        self._chunks: list[Chunk] = []
        self._progress = Progress()
        self._shadow = ""
        self._sent = ""
        self._heard_at = 0.0
        self._purged = 0
        self._found: tuple[str, ...] = ()

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
        self._book, self._chunks = CandleBook(KEEP), []
        self._progress = await self._store.load()
        follower: Follower = await self._bus.follow(
            subjects.MARKET.name, subjects.ALL_CANDLES, self._candle
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

    def _candle(self, message: Message) -> None:
        try:
            candle = market_pb2.Candle.FromString(message.data)
        except DecodeError:
            log.error("candle_unreadable", subject=message.subject, at=message.sequence)
            return
        row = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        key = SeriesKey(candle.venue, candle.symbol, candle.timeframe)
        numbers = tuple(float(text) for text in row)
        self._book.add(key, candle.open_time.ToMilliseconds(), numbers)  # type: ignore[arg-type]

    async def _turn(self) -> None:
        """One look: nothing in it is lost when it is interrupted."""
        await self._keep_candles()
        await self._judge()
        if not self._progress.judged_until:
            return
        await self._windows()
        await self._listen()
        await self._decide()
        await self._act()
        self._show()

    async def _keep_candles(self) -> None:
        self._chunks += self._book.take_chunks()
        if self._chunks:
            await self._store.keep_candles(self._chunks)
            self._chunks = []
        now = self._progress.judged_until
        if now // DAY_MS != self._purged and now and self._book.newest:
            await self._store.purge(
                now,
                judged=now - 2 * self._reach,
                sample_days=self._settings.clm_sample_days,
                candle_days=self._settings.clm_training_days,
            )
            self._purged = now // DAY_MS

    async def _judge(self) -> None:
        """Judge what is due, a piece at a time; the ledger may get an older batch later."""
        if not self._book.newest:
            return
        due = min(due_before(t, self._rule, f) for f, t in self._book.newest.items())
        while True:
            batch = await self._store.predictions(due - self._reach, due, _BATCHES)
            answers = [answer for payload in batch.payloads for answer in answers_of(payload)]
            self._note(answers)
            judged = judge(answers, self._book, self._rule)
            progress = self._progress
            whole = len(batch.events) < _BATCHES
            until = due if whole else batch.events[-1][1]
            after = replace(
                progress,
                judged_until=max(until, progress.judged_until),
                samples=progress.samples + sum(s.model == ENSEMBLE for s in judged.samples),
                unknown=progress.unknown + judged.unknown,
            )
            if batch.events:
                await self._store.record(batch, judged, after)
                self._metrics.judged.inc(len(judged.samples))
            if batch.events or progress.active_version:
                self._progress = after
            if whole:
                return

    @property
    def _reach(self) -> int:
        """How far back an outcome can still be seen in the candles that are kept."""
        longest = max(timeframe_ms(timeframe) for timeframe in self._book.newest)
        return (KEEP - WINDOW - self._rule.horizon) * longest

    def _note(self, answers: Sequence[Answer]) -> None:
        """Remember which artifact makes the signals."""
        active = [a for a in answers if a.stage is Stage.ACTIVE]
        newest = max(active, key=lambda a: a.candle_open, default=None)
        if newest is None or newest.candle_open < self._noted:
            return
        self._noted = newest.candle_open
        if newest.model_version != self._progress.active_version:
            # Another artifact: what was found of the one before says nothing of it.
            self._progress.active_version = newest.model_version
            self._progress.runs, self._progress.drifting = {}, []
            self._progress.window_end = 0

    def _point(self, message: Message) -> None:
        try:
            self._shadow = registry_pb2.ModelPointer.FromString(message.data).version
        except DecodeError:
            log.error("pointer_unreadable", subject=message.subject)

    async def _windows(self) -> None:
        """Look for drift in every window that has ended."""
        progress, length = self._progress, int(self._settings.clm_window_hours * 3_600_000)
        bucket = self._settings.clm_bucket_minutes * 60_000
        if not progress.window_end:
            progress.window_end = -(-progress.judged_until // bucket) * bucket + length
        while progress.active_version and progress.judged_until >= progress.window_end:
            start, end = progress.window_end - length, progress.window_end
            findings = await self._findings(progress.active_version, start, end)
            runs = drift.in_a_row(progress.runs, findings)
            found = drift.detected(findings, runs)
            new = [f for f in found if f.key not in progress.drifting]
            progress.runs, progress.drifting = runs, [f.key for f in found]
            progress.window_end = end + length
            told = [drift_of(f, progress.active_version, end) for f in new]
            await self._store.save(progress, told)
            await self._tell_performance(start, end)
            for finding in new:
                log.warning("model_drift_detected", quantity=finding.key, reason=finding.reason)
            self._found = tuple(f.reason for f in found)

    async def _findings(self, version: str, start: int, end: int) -> list[drift.Finding]:
        tallies = await self._views.tallies(start, end)
        mine = {m: t for (s, v, m), t in tallies.items() if (s, v) == (Stage.ACTIVE, version)}
        spreads = await self._views.spreads(start, end, Stage.ACTIVE, version)
        whole = mine.get(ENSEMBLE, NOTHING)
        if whole.samples < self._rules.samples:
            return []
        reference = await self._references.of(version, spreads, mine)
        if reference is None:
            return []
        found = [
            drift.of_spread(ENSEMBLE, quantity, reference.spreads[quantity], spread)
            for quantity, spread in spreads.items()
            if quantity in reference.spreads
        ]
        expected = reference.expected.get(ENSEMBLE)
        results = drift.of_results(ENSEMBLE, expected, whole) if expected else []
        return [*(f for f in found if f is not None), *results]

    async def _tell_performance(self, start: int, end: int) -> None:
        tallies = await self._views.tallies(start, end)
        values = {key: _metrics_of(found) for key, found in tallies.items()}
        whole = sum(t.samples for (_, _, m), t in tallies.items() if m == ENSEMBLE)
        await self._store.tell_performance(values, start, end, int(whole))

    async def _listen(self) -> None:
        """Take in what the trainer said, and requests of people."""
        now = self._progress.judged_until
        for heard in self._jobs.take():
            if heard.job_id == self._progress.state.job_id:
                self._heard_at = self._clock.monotonic()
            await self._take(self._heard(heard, now))
        for request_id, reason in await self._store.requests():
            before = self._progress.state
            self._progress.state, _ = lifecycle.ask(before, reason)
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
        candidate = Stage.SHADOW if state.stage is LearningStage.SHADOW else Stage.ACTIVE
        seen = Look(
            now=progress.judged_until,
            enabled=self._settings.clm_enabled,
            active=progress.active_version,
            shadow=self._shadow,
            urgent=await self._urgent(),
            drift=self._found if progress.drifting else (),
            candidate=tallies.get((candidate, state.candidate, ENSEMBLE), NOTHING),
            active_tally=tallies.get((Stage.ACTIVE, state.before, ENSEMBLE), NOTHING),
        )
        await self._take(lifecycle.look(state, seen, self._rules))

    async def _urgent(self) -> tuple[str, ...]:
        """Return why the active artifact must be replaced now."""
        if self._progress.state.busy or not self._progress.window_end:
            return ()
        length = int(self._settings.clm_window_hours * 3_600_000)
        end = self._progress.judged_until
        tallies = await self._views.tallies(end - length, end)
        key = (Stage.ACTIVE, self._progress.active_version, ENSEMBLE)
        found = tallies.get(key, NOTHING)
        return supervisor.urgent_reasons(found) if found.samples >= self._rules.samples else ()

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
            self._count(step)

    def _count(self, told: Told) -> None:
        log.info("learning_step", step=told.step.value, reasons=list(told.reasons))
        if told.step is Step.RETRAINING_REQUESTED:
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
        active, shadow = lifecycle.wanted(state)
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


def _metrics_of(found: Tally) -> dict[str, float]:
    return {
        "hit_rate": found.hit_rate,
        "direction_hit_rate": found.direction_hit_rate,
        "log_loss": found.log_loss,
        "brier": found.brier,
        "calibration_error": found.calibration_error,
        "contribution": found.contribution,
        "average_r": found.average_r,
        "profit_factor": found.profit_factor,
        "score": supervisor.score_of(found),
    }
