"""Candles in, answers out.

All replicas share one durable consumer as the work queue. An item is a message of candles that
closed together. It is answered by one message, once the replica's own reader has it, and
acknowledged only after its answer is stored, so a replica that dies leaves its items to the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter

from services.ai import signal_spans
from services.ai.artifact import LoadedModel
from services.ai.candle_reader import CandleReader
from services.ai.core.answers import Answer, Asked, Batch, Policy, answer, ask, batches
from services.ai.core.manifest import Manifest
from services.ai.core.outputs import Outputs
from services.ai.core.watch import ModelWatch
from services.ai.fund_reader import FundReader
from services.ai.inference import Inference
from services.ai.measures import Measures
from services.ai.outgoing import change_message, messages
from services.ai.slot import ModelSlot
from services.catalog import subjects
from services.catalog.events import MODEL_WEIGHT_CHANGED, PREDICTION, SIGNAL_GENERATED
from services.kit.bus.bus import Bus, Delivery, Outgoing, Worker
from services.kit.clock import Clock
from services.kit.health import Components
from services.kit.observe.logs import get_logger
from services.kit.observe.telemetry import Telemetry, now
from services.kit.observe.trace_context import within
from services.trade.candle import Candle
from services.trade.codec import CodecError
from services.trade.ids import trace_id

log = get_logger(__name__)

COMPONENT = "windows"
_BEHIND_SECONDS = 1.0
"""How long an item waits for the replica's own reader."""
_RETRY_SECONDS = 0.2
_ACK_WAIT_SECONDS = 3.0
"""After this long the items of a replica that died go to another; a late answer is a repeat."""
_MAX_DELIVER = 50
"""Items come again while a replica is behind, so that is no sign of poison for long."""
_PARALLEL = 3
"""Batches in hand: one is read or written while the models run on the other."""
_LATE_SECONDS = 2.0
"""A run of all models that took longer is counted; answers that it makes too late are stale."""
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


def _by_model(items: Sequence[_Item]) -> list[tuple[LoadedModel, list[_Item]]]:
    """Group items by the artifact that answers them: as a rule it is one."""
    found: dict[str, tuple[LoadedModel, list[_Item]]] = {}
    for item in items:
        found.setdefault(item.model.manifest.version, (item.model, []))[1].append(item)
    return list(found.values())


class CandleAnswerer:
    """Answers this replica's share of the candles."""

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
        reader: CandleReader,
        on_excluded: Callable[[dict[str, str], int], None],
    ) -> None:
        self._reader = reader
        self._on_excluded = on_excluded
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
        self.on_answered: Callable[[Sequence[Candle]], None] | None = None
        """Learns the candles whose answers are stored and acknowledged."""
        self.on_said: Callable[[Batch, Outgoing], None] | None = None
        """Learns each batch and its message before it is sent."""
        self._worker: Worker | None = None
        self._draining = False
        components.set(COMPONENT, False, "reading the stored candles")

    async def run(self, bus: Bus) -> None:
        """Follow the candles, and take work while a verified model is loaded, for ever."""
        self._bus = bus
        await self._reader.start(bus)
        self._components.set(COMPONENT, True)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reader.run())
            group.create_task(self._work_with_a_model())

    async def _work_with_a_model(self) -> None:
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
        live = [
            delivery
            for delivery in deliveries
            if subjects.has_candles(delivery.subject)
            and subjects.HEADER_HISTORY not in delivery.headers
        ]
        if not live:
            return []
        await self._reader.reach(max(d.sequence for d in live), _BEHIND_SECONDS)
        found = [await self._item(delivery) for delivery in live]
        return [item for item in found if item is not None]

    async def _item(self, delivery: Delivery) -> _Item | None:
        if not self._reader.has(delivery.sequence):
            await delivery.nak(_RETRY_SECONDS)
            return None
        try:
            read = self._reader.candles_of(delivery)
        except CodecError as error:
            await delivery.reject(str(error))
            return None
        model = self._slot.answers(read.candles[0].close_time)
        if model is None:  # it is being loaded
            await delivery.nak(_RETRY_SECONDS)
            return None
        return _Item(delivery, read.candles, model, *read.refused[:1])

    async def _answer(
        self, items: Sequence[_Item], model: LoadedModel, received_at: int
    ) -> list[Answer]:
        """Predict the candles of all items at once and store a message of answers for each."""
        manifest = model.manifest
        rounds: list[Asked] = []
        for item in items:
            policy = self._slot.policy(manifest, self._fund, item.candles[0].close_time)
            rounds.append(ask(item.candles, self._reader.windows, manifest, policy, self._watch))
        asked = now()
        answers = await self._predict(rounds, model, policy)
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
        self, rounds: Sequence[Asked], model: LoadedModel, policy: Policy
    ) -> list[Answer]:
        """Run the models once for each vector of weights: as a rule there is one."""
        outputs: list[Outputs] = []
        whole = [asked for asked in rounds if len(asked.windows)]
        for weights, group in groupby(whole, attrgetter("weights")):
            blocks = [asked.windows for asked in group]
            began = self._clock.monotonic()
            outputs.append(await self._inference.predict(model.session, blocks, weights))
            self._time(self._clock.monotonic() - began)
            self._slot.show(model.manifest, weights)
        questions = [question for asked in rounds for question in asked.questions]
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
        self._measures.confidence.observe_all([a.prediction.confidence for a in answers])
        for each in answers:
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
