"""The registry: artifacts in the object store, and the pointers to those that answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from google.protobuf.message import DecodeError
from quantum.ai.v1 import registry_pb2 as pb

from services.ai.artifact import ArtifactRefused
from services.ai.core.pointers import Pointer, Stage, Wanted, lineup
from services.ai.pace import MarketPace
from services.ai.pointer_codec import event_of, pointer_from_pb, pointer_to_pb
from services.ai.slot import ModelSlot
from services.catalog import subjects
from services.catalog.events import TYPES
from services.catalog.processes import AI
from services.kit.bus.bus import Bus, BusRefused, BusUnavailable, Follower, Message, Outgoing
from services.kit.bus.objects import ObjectDamaged, ObjectInfo, Objects
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.kit.observe.metrics import Metrics
from services.trade.codec import CodecError
from services.trade.ids import digest

log = get_logger(__name__)

_SUBJECTS = {Stage.ACTIVE: subjects.ACTIVE_MODEL, Stage.SHADOW: subjects.SHADOW_MODEL}
_STAGES = {subject: stage for stage, subject in _SUBJECTS.items()}
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_SAMPLE_SECONDS = 0.5
_HEAR_SECONDS = 5.0


class PointerMoved(Exception):
    """Somebody else wrote the pointer first; look at it again."""


class Registry:
    """Follows the pointers, and has the slot hold what they name."""

    def __init__(
        self, *, slot: ModelSlot, clock: Clock, metrics: Metrics, newest_close: Callable[[], int]
    ) -> None:
        """`newest_close` tells the market time: close of the newest candle; 0 before the first."""
        self._slot = slot
        self._clock = clock
        self._newest_close = newest_close
        self._pace = MarketPace()
        self._bus: Bus | None = None
        self._objects: Objects | None = None
        self._follower: Follower | None = None
        self._started_at = 0
        self._history: dict[Stage, list[tuple[int, Pointer]]] = {s: [] for s in _SUBJECTS}
        self._untold: list[Outgoing] = []
        self._moved = asyncio.Event()
        self._stages = metrics.gauge(
            "model_stage", "1 for the artifact at a stage.", ["stage", "version"]
        )

    async def start(self, bus: Bus) -> None:
        """Know the pointers and load what they name, before the first candle is answered."""
        self._bus = bus
        self._objects = Objects(bus, subjects.MODELS_BUCKET)
        await self._objects.follow()
        self._slot.fetch_from(self._fetch)
        self._started_at = await bus.last_sequence(subjects.POLICY.name)
        self._follower = await bus.follow(
            subjects.POLICY.name, subjects.ALL_MODEL_POINTERS, self._read, start="all"
        )
        await self._follower.caught_up.wait()
        await self._slot.refresh()

    async def keep(self) -> None:
        """Load what pointers name when they move, and tell of it, for ever."""
        while True:
            try:
                async with asyncio.timeout(_SAMPLE_SECONDS):
                    await self._moved.wait()
            except TimeoutError:
                self._pace.sample(self._clock.monotonic(), self._newest_close())
                continue
            self._moved.clear()
            await self._slot.refresh()
            await self._tell()

    @property
    def market_time(self) -> int:
        """Close of the newest candle in milliseconds; 0 before the first."""
        return self._newest_close()

    @property
    def pace(self) -> float:
        """Market milliseconds a second."""
        return self._pace.rate

    def history(self, stage: Stage) -> list[Pointer]:
        """Return the pointers of a stage, oldest first, as far back as the bus keeps them."""
        return [pointer for _, pointer in self._history[stage]]

    def pointer(self, stage: Stage) -> Pointer | None:
        """Return the pointer of a stage; None when it was never set."""
        held = self._history[stage]
        return held[-1][1] if held else None

    @property
    def stored(self) -> Mapping[str, ObjectInfo]:
        """Artifacts of the object store by version."""
        return {} if self._objects is None else self._objects.known

    async def write(self, stage: Stage, pointer: Pointer) -> None:
        """Set a pointer; PointerMoved when it is not the one any more that this replica knows.

        BusRefused and BusUnavailable as the bus says them: then it is not known whether it is set.
        """
        assert self._bus is not None and self._follower is not None  # noqa: S101 - after start
        subject = _SUBJECTS[stage]
        held = self._history[stage]
        expected = held[-1][0] if held else 0
        data = pointer_to_pb(pointer).SerializeToString(deterministic=True)
        key = digest("pointer", stage.value, str(expected), data.hex(), length=28)
        try:
            sequence = await self._bus.publish(
                subject, data, message_id=f"ptr-{key}", headers={_EXPECTED: str(expected)}
            )
        except BusRefused as error:
            newest = await self._bus.last(subjects.POLICY.name, subject)
            if newest is None or newest.sequence == expected:
                raise
            await self._follower.wait_for(newest.sequence, _HEAR_SECONDS)
            raise PointerMoved(str(error)) from error
        if not await self._follower.wait_for(sequence, _HEAR_SECONDS):
            raise BusUnavailable(f"{subject} was set, and is not heard of")

    def _read(self, message: Message) -> None:
        stage = _STAGES.get(message.subject)
        if stage is None:
            log.warning("pointer_unknown", subject=message.subject)
            return
        try:
            pointer = pointer_from_pb(pb.ModelPointer.FromString(message.data))
        except (DecodeError, CodecError) as error:
            # What is there goes on: a pointer that says nothing moves nothing.
            log.error("pointer_unreadable", subject=message.subject, reason=str(error))
            return
        if stage is Stage.ACTIVE and not pointer.version:
            log.error("pointer_unreadable", subject=message.subject, reason="it names no version")
            return
        self._history[stage].append((message.sequence, pointer))
        self._slot.want(lineup(self.history(Stage.ACTIVE)), self._shadow())
        self._show()
        if message.sequence > self._started_at:
            self._untold.append(_event(stage, pointer, message.sequence))
        self._moved.set()

    def _shadow(self) -> Wanted | None:
        held = self.pointer(Stage.SHADOW)
        if held is None or not held.version:
            return None
        return Wanted(held.effective_from, held.version, held.sha256)

    def _show(self) -> None:
        self._stages.clear()
        for stage in _SUBJECTS:
            held = self.pointer(stage)
            if held is not None and held.version:
                self._stages.labels(stage.value, held.version).set(1)

    async def _tell(self) -> None:
        """Tell of pointers that moved; every replica says it, under one id."""
        assert self._bus is not None  # noqa: S101 - nothing moves before the start
        untold, self._untold = self._untold, []
        if not untold:
            return
        try:
            await self._bus.publish_all(untold)
        except BusUnavailable as error:
            log.warning("pointer_not_told", error=str(error))
            self._untold = [*untold, *self._untold]

    async def _fetch(self, version: str) -> bytes | None:
        """Return an artifact as it is stored; ArtifactRefused when it cannot be had whole."""
        assert self._objects is not None  # noqa: S101 - the slot asks after the start
        try:
            return await self._objects.get(version)
        except (ObjectDamaged, BusRefused) as error:
            raise ArtifactRefused(str(error)) from error
        except (BusUnavailable, TimeoutError) as error:
            raise ArtifactRefused(f"{version} cannot be fetched now: {error}") from error


def _event(stage: Stage, pointer: Pointer, sequence: int) -> Outgoing:
    message = event_of(stage, pointer)
    taken = pointer.rolled_back_version
    where = subjects.model_rolled_back(taken) if taken else subjects.model_promoted(pointer.version)
    return Outgoing(
        where if pointer.version else subjects.model_promoted("none"),
        message.SerializeToString(deterministic=True),
        f"mdl-{digest('model', stage.value, str(sequence), length=28)}",
        {
            subjects.HEADER_TYPE: TYPES[type(message)],
            subjects.HEADER_SOURCE: AI.name,
            subjects.HEADER_TIME: str(pointer.effective_from),
        },
    )
