"""Candles in, answers out.

Every replica follows all candles to keep windows; all replicas share one durable consumer as the
work queue. An item is a message of candles that closed together. It is answered by one message,
once the replica's own follower has passed it, and acknowledged only after its answer is stored, so
a replica that dies leaves its items to the others.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter

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
from services.kit.observe.trace_context import within
from services.trade.candle import Candle
from services.trade.codec import CandlesRead, CodecError, candles_from_bytes
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
_RECENT = 256
"""Messages that the follower has read and the worker need not read again."""
_MESSAGES = 16
"""Messages in one hand: a replica that is behind asks the models about several rounds at once."""


@dataclass(frozen=True, slots=True)
class _Item:
    delivery: Delivery
    candles: list[Candle]
    """Of one venue and timeframe, closed at one market time."""
    model: LoadedModel
    """The artifact that answers at their close."""
    refused: str = ""
    """Why something else in the message is no candle."""


def _close_of(read: CandlesRead) -> int:
    """Return when the candles of a live message closed; CodecError when not all did together."""
    if not read.candles:
        raise CodecError(read.refused[0])
    rounds = {(c.venue, c.timeframe, c.close_time) for c in read.candles}
    if len(rounds) > 1:
        raise CodecError(f"candles of {len(rounds)} rounds in one message of live ones")
    return read.candles[0].close_time


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
        self._progress = progress
        self.on_kept: Callable[[Candle, bool], None] | None = None
        """Learns each candle that was put into the windows, and whether it is history."""
        self.on_answered: Callable[[Sequence[Candle]], None] | None = None
        """Learns the candles whose answers are stored and acknowledged."""
        self.on_said: Callable[[Batch, Outgoing], None] | None = None
        """Learns each batch and its message before it is sent."""
        self._recent: OrderedDict[int, CandlesRead] = OrderedDict()
        """Live candles in the windows, by stream sequence."""
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
                batch=_MESSAGES,
                ack_wait=_ACK_WAIT_SECONDS,
                max_deliver=_MAX_DELIVER,
                parallel=_PARALLEL,
            )
        elif not wanted and self._worker is not None:
            worker, self._worker = self._worker, None
            await worker.stop()

    def _keep(self, message: Message) -> None:
        if not subjects.has_candles(message.subject):
            return
        history = subjects.HEADER_HISTORY in message.headers
        try:
            read = candles_from_bytes(message.data)
            if not history:
                _close_of(read)
        except CodecError as error:
            self._refuse(message, str(error))
            return
        for reason in read.refused:
            self._refuse(message, reason)
        believed = self._believed(read.candles)
        if believed == read.candles and not history:
            self._insert(message, believed, history)
        else:
            for candle in believed:
                self._insert(message, [candle], history)
        self._measures.candles.inc(len(read.candles))
        self._progress["last_candle_time"] = float(self.windows.newest_close_of_all)
        if not history:
            self._recent[message.sequence] = read
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)

    def _believed(self, candles: Sequence[Candle]) -> list[Candle]:
        """Return the candles to keep now, those that waited for one of these among them."""
        found: list[Candle] = []
        for candle in candles:
            believed = self._market_time.take(candle)
            if not believed:
                self._measures.errors.labels("future_candle").inc()
                log.warning("future_candle", candle=candle.key)
            found += believed
        return found

    def _insert(self, message: Message, candles: Sequence[Candle], history: bool) -> None:
        """Keep candles of one round, and tell who looks at windows."""
        try:
            results = self.windows.insert_round(candles)
        except ValueError as error:
            self._refuse(message, str(error))
            return
        for candle, result in zip(candles, results, strict=True):
            if result is Insert.CONFLICT:
                self._measures.errors.labels("conflicting_candle").inc()
                log.warning("conflicting_candle", candle=candle.key)
            if self.on_kept is not None:
                self.on_kept(candle, history)
        if not history:
            self._on_live_candle(candles[0])

    def _refuse(self, message: Message, reason: str) -> None:
        self._measures.errors.labels("bad_candle").inc()
        log.warning("bad_candle", subject=message.subject, reason=reason)

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
        for item in items:
            if item.refused:
                await item.delivery.reject(item.refused)
        # The worker acknowledges what it handed over, all with one write, when this returns.
        self._count(answers)
        answered = self._progress.get("candles_answered", 0)
        self._progress["candles_answered"] = answered + len(answers)
        made = next((a.signal for a in answers if a.signal is not None), None)
        self._measures.latency.observe(
            self._clock.monotonic() - received,
            None if made is None else {"trace_id": trace_id(made.candle.key)},
        )
        if self.on_answered is not None:
            self.on_answered([candle for item in items for candle in item.candles])

    async def _answerable(self, deliveries: Sequence[Delivery]) -> list[_Item]:
        """Settle what needs no answer, give back what came too early, return the rest."""
        assert self._follower is not None  # noqa: S101 - work begins after the follower
        live = [
            delivery
            for delivery in deliveries
            if subjects.has_candles(delivery.subject)
            and subjects.HEADER_HISTORY not in delivery.headers
        ]
        if not live:
            return []
        await self._follower.wait_for(max(d.sequence for d in live), _BEHIND_SECONDS)
        found = [await self._item(delivery) for delivery in live]
        return [item for item in found if item is not None]

    async def _item(self, delivery: Delivery) -> _Item | None:
        assert self._follower is not None  # noqa: S101 - work begins after the follower
        if delivery.sequence > self._follower.position:
            await delivery.nak(_RETRY_SECONDS)
            return None
        try:
            read = self._recent.get(delivery.sequence) or candles_from_bytes(delivery.data)
            closes = _close_of(read)
        except CodecError as error:
            await delivery.reject(str(error))
            return None
        model = self._slot.answers(closes)
        if model is None:  # it is being loaded
            await delivery.nak(_RETRY_SECONDS)
            return None
        return _Item(delivery, read.candles, model, *read.refused[:1])

    async def _answer(
        self, items: Sequence[_Item], model: LoadedModel, received_at: int
    ) -> list[Answer]:
        """Predict the candles of all items at once and store a message of answers for each."""
        manifest = model.manifest
        questions: list[Question] = []
        for item in items:
            policy = self._slot.policy(manifest, self._fund, item.candles[0].close_time)
            questions += ask(item.candles, self.windows, manifest, policy, self._watch)
        asked = now()
        answers = await self._predict(questions, model, policy)
        predicted = now()
        assert self._bus is not None  # noqa: S101 - work comes from the bus
        stored: list[Outgoing] = []
        told = iter(answers)
        for item in items:
            for batch in batches(islice(told, len(item.candles)), manifest):
                stored += messages(batch)
                if self.on_said is not None:
                    self.on_said(batch, stored[-1])
        await self._bus.publish_all([*stored, *self._changes(manifest)])
        self._measures.published.labels(PREDICTION).inc(len(items))
        if any(a.signal is not None for a in answers):
            moments = signal_spans.Moments(received_at, asked, predicted, now())
            self._write_spans(items, answers, moments)
        return answers

    def _write_spans(
        self, items: Sequence[_Item], answers: Sequence[Answer], moments: signal_spans.Moments
    ) -> None:
        sources = {c.key: item.delivery for item in items for c in item.candles}
        signal_spans.write(self._telemetry, answers, sources, moments)

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
