"""Candles in, answers out.

Every replica follows all candles to keep windows; all replicas share one durable consumer as the
work queue. An item is answered once the replica's own follower has passed it, and acknowledged
only after its answer is stored, so a replica that dies leaves its items to the others.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from google.protobuf.message import DecodeError
from quantum.market.v1 import market_pb2

from services.ai import signal_spans
from services.ai.artifact import LoadedModel
from services.ai.core.answers import Answer, Batch, Policy, Question, answer, ask, batches
from services.ai.core.manifest import Manifest
from services.ai.core.outputs import Outputs
from services.ai.core.plausible import MarketTime
from services.ai.core.watch import ModelWatch
from services.ai.core.windows import Insert, Windows
from services.ai.fund_reader import FundReader
from services.ai.inference import Inference
from services.ai.measures import Measures
from services.ai.outgoing import change_message, messages
from services.ai.slot import ModelSlot
from services.catalog import subjects
from services.catalog.events import MODEL_WEIGHT_CHANGED, PREDICTION, SIGNAL_GENERATED
from services.kit.bus.bus import Bus, Delivery, Follower, Message, Outgoing, Worker
from services.kit.clock import Clock
from services.kit.health import Components
from services.kit.observe.logs import get_logger
from services.kit.observe.telemetry import Telemetry, now
from services.kit.observe.trace_context import context_of, within
from services.trade.candle import Candle
from services.trade.codec import CodecError, candle_from_pb
from services.trade.ids import trace_id

log = get_logger(__name__)

COMPONENT = "windows"
_BEHIND_SECONDS = 1.0
"""How long an item waits for the replica's own follower."""
_RETRY_SECONDS = 0.2
_ACK_WAIT_SECONDS = 3.0
"""After this long the items of a replica that died go to another; a late answer is a repeat."""
_MAX_DELIVER = 50
"""Items come again while a replica is behind, so that is no sign of poison for long."""
_PARALLEL = 2
"""Batches in hand: one is read or written while the models run on the other."""
_LATE_SECONDS = 2.0
"""A run of all models that took longer is counted; answers that it makes too late are stale."""
_COUNT_EVERY = 100
"""Candles that are counted at once while the follower reads what is stored."""
_RECENT = 10_000
"""Candles that the follower has read and the worker need not read again."""


def read_candle(message: Message) -> Candle:
    """Read a candle from the bus; CodecError when it is none."""
    try:
        return candle_from_pb(market_pb2.Candle.FromString(message.data))
    except DecodeError as error:
        raise CodecError(f"{message.subject}: not a candle message") from error


@dataclass(frozen=True, slots=True)
class _Item:
    delivery: Delivery
    candle: Candle
    model: LoadedModel
    """The artifact that answers at the candle's close."""


def _by_model(items: Sequence[_Item]) -> list[tuple[LoadedModel, list[_Item]]]:
    """Group items by the artifact that answers them: as a rule it is one."""
    found: dict[str, tuple[LoadedModel, list[_Item]]] = {}
    for item in items:
        found.setdefault(item.model.manifest.version, (item.model, []))[1].append(item)
    return list(found.values())


class CandleAnswerer:
    """Keeps windows from the candle stream and answers this replica's share of the candles."""

    def __init__(
        self,
        *,
        slot: ModelSlot,
        fund: FundReader,
        watch: ModelWatch,
        inference: Inference,
        components: Components,
        measures: Measures,
        telemetry: Telemetry,
        clock: Clock,
        batch_size: int,
        progress: dict[str, float],
        windows: Windows,
        on_live_candle: Callable[[Candle], None],
        on_excluded: Callable[[dict[str, str], int], None],
    ) -> None:
        self.windows = windows
        self._on_live_candle = on_live_candle
        self._on_excluded = on_excluded
        self.warm = False
        """True once the stored candles were read."""
        self._bus: Bus | None = None
        self._slot = slot
        self._fund = fund
        self._watch = watch
        self._inference = inference
        self._components = components
        self._measures = measures
        self._telemetry = telemetry
        self._clock = clock
        self._batch_size = batch_size
        self._progress = progress
        self.on_kept: Callable[[Candle, bool], None] | None = None
        """Learns each candle that was put into the windows, and whether it is history."""
        self.on_answered: Callable[[Sequence[Candle]], None] | None = None
        """Learns the candles whose answers are stored and acknowledged."""
        self.on_said: Callable[[Batch, Outgoing], None] | None = None
        """Learns each batch and its message before it is sent."""
        self._recent: OrderedDict[int, Candle] = OrderedDict()
        """Live candles in the windows, by stream sequence."""
        self._uncounted = 0
        self._market_time = MarketTime()
        self._follower: Follower | None = None
        self._worker: Worker | None = None
        self._draining = False
        components.set(COMPONENT, False, "reading the stored candles")

    async def run(self, bus: Bus) -> None:
        """Follow the candles, and take work while a verified model is loaded, for ever."""
        self._bus = bus
        self._follower = await bus.follow(
            subjects.MARKET.name, subjects.ALL_OF_MARKET, self._keep, start="all"
        )
        await self._follower.caught_up.wait()
        self.warm = True
        self._components.set(COMPONENT, True)
        while True:
            self._slot.changed.clear()
            await self._match_worker_to_model()
            await self._slot.changed.wait()

    async def drain(self) -> None:
        """Take no more work and finish what is in hand; reading goes on."""
        self._draining = True
        await self._match_worker_to_model()

    async def _match_worker_to_model(self) -> None:
        wanted = self._slot.loaded is not None and not self._draining
        if wanted and self._worker is None and self._bus is not None:
            self._worker = await self._bus.work(
                subjects.MARKET.name,
                subjects.AI_WORK_CONSUMER,
                subjects.ALL_OF_MARKET,
                self._work,
                batch=self._batch_size,
                ack_wait=_ACK_WAIT_SECONDS,
                max_deliver=_MAX_DELIVER,
                parallel=_PARALLEL,
            )
        elif not wanted and self._worker is not None:
            worker, self._worker = self._worker, None
            await worker.stop()

    def _keep(self, message: Message) -> None:
        if not subjects.is_candle(message.subject):
            return
        try:
            candle = read_candle(message)
            believed = self._market_time.take(candle)
            results = [(one, self.windows.insert(one)) for one in believed]
        except ValueError as error:
            self._measures.errors.labels("bad_candle").inc()
            log.warning("bad_candle", subject=message.subject, reason=str(error))
            return
        if not believed:
            self._measures.errors.labels("future_candle").inc()
            log.warning("future_candle", candle=candle.key)
        self._count_candle(message)
        for one, result in results:
            if result is Insert.CONFLICT:
                self._measures.errors.labels("conflicting_candle").inc()
                log.warning("conflicting_candle", candle=one.key)
        history = subjects.HEADER_HISTORY in message.headers
        if self.on_kept is not None:
            for one in believed:
                self.on_kept(one, history)
        if not history:
            self._recent[message.sequence] = candle
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
            for one in believed:
                self._on_live_candle(one)

    def _count_candle(self, message: Message) -> None:
        self._uncounted += 1
        if not message.pending or self._uncounted >= _COUNT_EVERY:
            self._measures.candles.inc(self._uncounted)
            self._uncounted = 0
            self._progress["last_candle_time"] = float(self.windows.newest_close_of_all)

    async def _work(self, deliveries: list[Delivery]) -> None:
        received, received_at = self._clock.monotonic(), now()
        if self._slot.loaded is None:
            for delivery in deliveries:
                await delivery.nak(_RETRY_SECONDS)
            return
        items = await self._answerable(deliveries)
        if not items:
            return
        answers: list[Answer] = []
        try:
            for model, chosen in _by_model(items):
                answers += await self._answer(chosen, model, received_at)
        except Exception:
            # The worker gives the items back; the count makes a failure that repeats visible.
            self._measures.errors.labels("answer_failed").inc()
            raise
        # The worker acknowledges what it handed over, all with one write, when this returns.
        self._count(answers)
        self._progress["candles_answered"] = self._progress.get("candles_answered", 0) + len(items)
        made = next((a.signal for a in answers if a.signal is not None), None)
        self._measures.latency.observe(
            self._clock.monotonic() - received,
            None if made is None else {"trace_id": trace_id(made.candle.key)},
        )
        if self.on_answered is not None:
            self.on_answered([item.candle for item in items])

    async def _answerable(self, deliveries: Sequence[Delivery]) -> list[_Item]:
        """Settle what needs no answer, give back what came too early, return the rest."""
        assert self._follower is not None  # noqa: S101 - work begins after the follower
        live = [
            delivery
            for delivery in deliveries
            if subjects.is_candle(delivery.subject)
            and subjects.HEADER_HISTORY not in delivery.headers
        ]
        if not live:
            return []
        await self._follower.wait_for(max(d.sequence for d in live), _BEHIND_SECONDS)
        items = []
        for delivery in live:
            if delivery.sequence > self._follower.position:
                await delivery.nak(_RETRY_SECONDS)
                continue
            try:
                candle = self._recent.get(delivery.sequence) or read_candle(delivery)
            except CodecError as error:
                await delivery.reject(str(error))
                continue
            model = self._slot.answers(candle.close_time)
            if model is None:  # it is being loaded
                await delivery.nak(_RETRY_SECONDS)
                continue
            items.append(_Item(delivery, candle, model))
        return items

    async def _answer(
        self, items: Sequence[_Item], model: LoadedModel, received_at: int
    ) -> list[Answer]:
        """Predict all items in one run and store the answers."""
        manifest = model.manifest
        closes = [item.candle.close_time for item in items]
        policies = {
            time: self._slot.policy(manifest, self._fund, time) for time in dict.fromkeys(closes)
        }
        questions = [
            ask(item.candle, self.windows, manifest, policies[time], self._watch)
            for item, time in zip(items, closes, strict=True)
        ]
        asked = now()
        answers = await self._predict(questions, model, policies[closes[-1]])
        predicted = now()
        found = batches(answers, manifest)
        assert self._bus is not None  # noqa: S101 - work comes from the bus
        stored: list[Outgoing] = []
        for batch in found:
            stored += messages(batch)
            if self.on_said is not None:
                self.on_said(batch, stored[-1])
        await self._bus.publish_all([*stored, *self._changes(manifest)])
        self._measures.published.labels(PREDICTION).inc(len(found))
        if any(a.signal is not None for a in answers):
            moments = signal_spans.Moments(received_at, asked, predicted, now())
            self._write_spans(items, answers, moments)
        return answers

    def _write_spans(
        self, items: Sequence[_Item], answers: Sequence[Answer], moments: signal_spans.Moments
    ) -> None:
        made = {a.signal.candle.key for a in answers if a.signal is not None}
        parents = {
            item.candle.key: place
            for item in items
            if item.candle.key in made and (place := context_of(item.delivery.headers)) is not None
        }
        signal_spans.write(self._telemetry, answers, parents, moments, len(items))

    async def _predict(
        self, questions: Sequence[Question], model: LoadedModel, policy: Policy
    ) -> list[Answer]:
        """Run the models once for each vector of weights: as a rule there is one."""
        outputs: list[Outputs] = []
        asked = [(q.weights, q.window) for q in questions if q.window is not None]
        for weights, group in groupby(asked, itemgetter(0)):
            windows = [window for _, window in group]
            began = self._clock.monotonic()
            outputs.append(await self._inference.predict(model.session, windows, weights))
            self._time(self._clock.monotonic() - began)
            self._slot.show(model.manifest, weights)
        return answer(questions, Outputs.joined(outputs), model.manifest, policy)

    def _time(self, seconds: float) -> None:
        self._measures.run_seconds.observe(seconds)
        if seconds > _LATE_SECONDS:
            self._measures.errors.labels("late_run").inc()
            log.warning("late_model_run", seconds=round(seconds, 3))

    def _changes(self, manifest: Manifest) -> list[Outgoing]:
        """Tell of models that were excluded or taken back; replicas say it under one id."""
        found = []
        for change in self._watch.take_changes():
            self._on_excluded(self._watch.excluded, len(manifest.weights))
            for model, excess in self._watch.drift.items():
                self._measures.drift.labels(model).set(excess)
            self._measures.weight_changes.labels(change.model, change.reason).inc()
            self._measures.published.labels(MODEL_WEIGHT_CHANGED).inc()
            log.warning("model_weight_changed", **change._asdict())
            found.append(change_message(change, manifest.version))
        return found

    def _count(self, answers: Sequence[Answer]) -> None:
        for reason, times in Counter(a.prediction.hold_reason for a in answers).items():
            self._measures.predictions.labels(reason.value).inc(times)
        for each in answers:
            self._measures.confidence.observe(each.prediction.confidence)
            if each.signal is not None:
                self._measures.signals.labels(each.signal.action.value).inc()
                self._measures.published.labels(SIGNAL_GENERATED).inc()
                with within(signal_spans.sent(each.signal)):
                    log.info(
                        "signal_generated",
                        signal_id=each.signal.signal_id,
                        symbol=each.signal.candle.symbol,
                        action=each.signal.action.value,
                        confidence=round(each.signal.confidence, 4),
                    )
