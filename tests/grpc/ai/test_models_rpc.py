"""Deploy, shadow, roll back: two replicas on a real bus while candles close."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from quantum.ai.v1 import ai_service_pb2 as pb
from quantum.ai.v1 import ai_service_pb2_grpc as rpc
from quantum.ai.v1 import registry_pb2, signal_pb2

from services.ai.app import make_build
from services.ai.artifact import active_folder
from services.ai.settings import SHIPPED_MODELS, Settings
from services.catalog import subjects
from services.catalog.processes import AI
from services.ctl.servers.free import free_port as choose_port
from services.kit.bus.bus import Bus, Message
from services.kit.bus.objects import Objects
from services.kit.clock import SystemClock
from services.kit.folders import pack
from services.kit.process import Process
from services.trade.candle import Candle
from tests.integration.ai.candle_bus import Answers, market, outgoing, publish_history
from tests.support.eventually import eventually

FIRST = active_folder(SHIPPED_MODELS)
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
HISTORY = 130
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Replica:
    """One served process."""

    def __init__(self, process: Process, channel: grpc.aio.Channel) -> None:
        self.process = process
        self.channel = channel
        self.ai: Any = rpc.AiServiceStub(channel)

    async def deploy(
        self,
        version: str,
        stage: registry_pb2.Stage.ValueType = registry_pb2.STAGE_ACTIVE,
        **more: Any,
    ) -> pb.DeployModelResponse:
        request = pb.DeployModelRequest(
            version=version, stage=stage, reason="test", request_id="r1", **more
        )
        answer: pb.DeployModelResponse = await self.ai.DeployModel(request, timeout=20)
        return answer

    async def rollback(self, version: str) -> pb.RollbackModelResponse:
        request = pb.RollbackModelRequest(version=version, reason="worse", request_id="r2")
        answer: pb.RollbackModelResponse = await self.ai.RollbackModel(request, timeout=20)
        return answer

    async def list(self) -> pb.ListModelsResponse:
        answer: pb.ListModelsResponse = await self.ai.ListModels(pb.ListModelsRequest(), timeout=5)
        return answer

    async def stages(self) -> dict[str, str]:
        found = (await self.list()).artifacts
        return {a.version: registry_pb2.Stage.Name(a.stage)[6:] for a in found}


class Market:
    """Candles that close one minute after the other, and what was answered."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.series = [market(symbol, HISTORY + 900) for symbol in SYMBOLS]
        self.next = HISTORY
        self.live: list[Candle] = []
        self.answers = Answers()
        self.shadows: list[signal_pb2.PredictionBatch] = []
        self.told: list[Message] = []

    async def start(self) -> None:
        await publish_history(self.bus, [c for one in self.series for c in one[:HISTORY]])
        await self.answers.start(self.bus)
        live = subjects.LIVE.name
        await self.bus.follow(live, subjects.ALL_SHADOW_PREDICTIONS, self._shadow)
        await self.bus.follow(live, subjects.ALL_MODEL_CHANGES, self.told.append)

    def _shadow(self, message: Message) -> None:
        self.shadows.append(signal_pb2.PredictionBatch.FromString(message.data))

    async def rounds(self, count: int, pause: float = 0.05) -> None:
        """Close so many minutes."""
        for _ in range(count):
            candles = [one[self.next] for one in self.series]
            self.next += 1
            self.live += candles
            await self.bus.publish_all([outgoing(candle) for candle in candles])
            await asyncio.sleep(pause)

    async def past(self, pointer: registry_pb2.ModelPointer) -> None:
        """Close minutes until a pointer holds, and a few more."""
        while self.live[-1].close_time < pointer.effective_from.ToMilliseconds():
            await self.rounds(1, 0.02)
        await self.rounds(5)
        await self.answered()

    async def answered(self) -> None:
        await eventually(lambda: self.answers.has_all(self.live), deadline=20)

    def versions(self) -> dict[int, set[str]]:
        """Versions that answered, by the close in milliseconds."""
        found: dict[int, set[str]] = {}
        for batch in self.answers.batches:
            for prediction in batch.predictions:
                close = prediction.candle_close_time.seconds * 1000
                found.setdefault(close, set()).add(batch.model_version)
        return found

    def assert_one_answer_each(self) -> None:
        """Every closed candle has one prediction set, and only one."""
        for candle in self.live:
            told = self.answers.by_candle[candle.symbol, candle.open_time]
            assert len({p.SerializeToString(deterministic=True) for p in told}) == 1, candle.key


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    opened = await Bus.connect(nats_url, "test")
    await opened.declare(subjects.STREAMS)
    yield opened
    await opened.close()


@pytest.fixture
async def serve(nats_url: str, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    started: list[tuple[Replica, asyncio.Task[int]]] = []

    async def start() -> Replica:
        settings = Settings(
            nats_url=nats_url,
            grpc_address=f"127.0.0.1:{choose_port()}",
            service_instance=f"ai-{len(started)}",
            drain_delay_seconds=0.0,
            signal_share=1.0,
            drain_file=tmp_path / "drain",
            maintenance_file=tmp_path / "maintenance",
        )
        process = Process(AI, settings, SystemClock())
        task = asyncio.create_task(process.run(make_build(settings)))
        channel = grpc.aio.insecure_channel(settings.grpc_address)
        await channel.channel_ready()
        replica = Replica(process, channel)
        started.append((replica, task))

        async def ready() -> bool:
            return replica.process.ready

        await eventually(ready, deadline=20)
        return replica

    yield start
    for replica, task in started:
        replica.process.stop()
        assert await task == 0
        await replica.channel.close()


@pytest.fixture
async def street(bus: Bus) -> Market:
    found = Market(bus)
    await found.start()
    return found


def artifact(version: str, change: Callable[[dict[str, Any]], None] | None = None) -> bytes:
    """Return the shipped artifact under another version, as the registry holds it."""
    names = ("manifest.json", "model.onnx", "golden.npz")
    files = {name: (FIRST / name).read_bytes() for name in names}
    manifest: dict[str, Any] = json.loads(files["manifest.json"]) | {"version": version}
    if change is not None:
        change(manifest)
    files["manifest.json"] = json.dumps(manifest).encode()
    return pack(files)


async def store(bus: Bus, version: str, content: bytes | None = None) -> None:
    await Objects(bus, subjects.MODELS_BUCKET).put(version, content or artifact(version), {}, NOW)


def reason(error: Any) -> str:
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return str(info.reason)


async def test_shadow_promote_and_roll_back_while_candles_close(
    serve: Any, bus: Bus, street: Market
) -> None:
    """Incident 105: every replica takes the promoted model, at one candle, and gives it back."""
    first, second = await serve(), await serve()
    await store(bus, "next-1")
    await street.rounds(3)

    shadow = await first.deploy("next-1", registry_pb2.STAGE_SHADOW)
    assert shadow.changed
    await street.past(shadow.pointer)
    while not street.shadows:  # what closes while it is being loaded it does not answer
        await street.rounds(1)
    await street.answered()
    assert {b.model_version for b in street.shadows} == {"next-1"}
    assert all(b.shadow and not b.signals for b in street.shadows)
    assert set().union(*street.versions().values()) == {FIRST.name}
    assert await second.stages() == {
        FIRST.name: "ACTIVE",
        "next-1": "SHADOW",
        **{p.name: "CANDIDATE" for p in SHIPPED_MODELS.iterdir() if p.is_dir() and p != FIRST},
    }

    promoted = (await second.deploy("next-1")).pointer
    assert promoted.previous_version == FIRST.name
    await street.past(promoted)
    switch = promoted.effective_from.seconds * 1000
    for close, versions in street.versions().items():
        assert versions == {"next-1" if close >= switch else FIRST.name}, close
    assert max(street.versions()) >= switch
    said = await asyncio.gather(first.list(), second.list())
    assert [{m.version for m in s.models} for s in said] == [{"next-1"}, {"next-1"}]

    back = await first.rollback("next-1")
    assert (back.pointer.version, back.pointer.rolled_back_version) == (FIRST.name, "next-1")
    again = await second.rollback("next-1")
    assert (again.changed, again.pointer) == (False, back.pointer)
    await street.past(back.pointer)
    returned = back.pointer.effective_from.seconds * 1000
    for close, versions in street.versions().items():
        held = switch <= close < returned
        assert versions == {"next-1" if held else FIRST.name}, close
    street.assert_one_answer_each()
    await eventually(lambda: len(street.told) == 3, deadline=5)
    assert [m.type for m in street.told] == [
        "model.promoted",
        "model.promoted",
        "model.rolled_back",
    ]
    assert all(m.market_time for m in street.told)


async def test_a_replica_that_starts_later_answers_with_what_was_deployed(
    serve: Any, bus: Bus, street: Market
) -> None:
    first = await serve()
    await store(bus, "next-1")
    await street.rounds(2)
    await street.past((await first.deploy("next-1")).pointer)
    late = await serve()
    health = await late.ai.GetHealth(pb.GetHealthRequest(), timeout=5)
    assert health.model_version == "next-1"
    assert (await late.rollback("next-1")).pointer.version == FIRST.name


@pytest.mark.parametrize(
    ("version", "content", "code", "why"),
    [
        ("nowhere", None, grpc.StatusCode.NOT_FOUND, "NO_ARTIFACT"),
        ("../etc", None, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ("", None, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ("bad-1", b"junk", grpc.StatusCode.FAILED_PRECONDITION, "ARTIFACT_REFUSED"),
        (
            "bad-2",
            artifact("bad-2", lambda m: m.update(sha256="0" * 64)),
            grpc.StatusCode.FAILED_PRECONDITION,
            "ARTIFACT_REFUSED",
        ),
        (
            "slow-1",
            artifact("slow-1", lambda m: m.update(timeframe="15m")),
            grpc.StatusCode.FAILED_PRECONDITION,
            "OTHER_TIMEFRAME",
        ),
        (
            "weak-1",
            artifact("weak-1", lambda m: m["metrics"]["walk_forward"].pop("volatility_bins")),
            grpc.StatusCode.FAILED_PRECONDITION,
            "PROMOTION_GATE",
        ),
    ],
)
async def test_what_is_not_good_is_refused_and_nothing_changes(
    serve: Any,
    bus: Bus,
    street: Market,
    version: str,
    content: bytes | None,
    code: grpc.StatusCode,
    why: str,
) -> None:
    replica = await serve()
    await street.rounds(1)
    await street.answered()
    if content is not None:
        await store(bus, version, content)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await replica.deploy(version)
    assert (caught.value.code(), reason(caught.value)) == (code, why)
    assert await bus.last(subjects.POLICY.name, subjects.ACTIVE_MODEL) is None
    await street.rounds(4)
    await street.answered()
    assert set().union(*street.versions().values()) == {FIRST.name}
    if why == "PROMOTION_GATE":
        assert (await replica.deploy(version, registry_pb2.STAGE_SHADOW)).changed
        assert (await replica.deploy(version, override_gate=True)).changed


async def test_a_repeated_request_and_two_at_once_change_once(
    serve: Any, bus: Bus, street: Market
) -> None:
    first, second = await serve(), await serve()
    await store(bus, "next-1")
    await street.rounds(1)
    await street.answered()
    told = await asyncio.gather(first.deploy("next-1"), second.deploy("next-1"))
    assert sorted(answer.changed for answer in told) == [False, True]
    assert told[0].pointer == told[1].pointer
    assert not (await first.deploy("next-1")).changed
    await store(bus, "next-2")
    other = await asyncio.gather(
        first.deploy("next-2"), second.rollback("next-1"), return_exceptions=True
    )
    history = (await first.list()).active
    assert history.version in ("next-2", FIRST.name), other


async def test_what_was_not_active_is_not_rolled_back(serve: Any, street: Market) -> None:
    replica = await serve()
    await street.rounds(1)
    await street.answered()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await replica.rollback(FIRST.name)
    assert reason(caught.value) == "NOT_ACTIVE"


async def test_before_the_first_candle_no_time_can_be_said(serve: Any, bus: Bus) -> None:
    replica = await serve()
    await store(bus, "next-1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await replica.deploy("next-1")
    assert reason(caught.value) == "NO_MARKET_TIME"


async def test_a_pointer_that_cannot_be_read_or_loaded_stops_no_answer(
    serve: Any, bus: Bus, street: Market
) -> None:
    """Incident 102: nothing stands in; the verified artifact goes on, and health says why."""
    replica = await serve()
    await bus.publish(subjects.ACTIVE_MODEL, b"\xff\xff", message_id="bad-1")
    await bus.publish(subjects.ACTIVE_MODEL, b"", message_id="bad-2")
    pointer = registry_pb2.ModelPointer(version="gone", previous_version=FIRST.name, changed_by="t")
    pointer.effective_from.FromMilliseconds(street.series[0][HISTORY].close_time)
    await bus.publish(subjects.ACTIVE_MODEL, pointer.SerializeToString(), message_id="bad-3")
    await street.rounds(3)
    await street.answered()
    assert set().union(*street.versions().values()) == {FIRST.name}

    async def told() -> bool:
        health = await replica.ai.GetHealth(pb.GetHealthRequest(), timeout=5)
        return health.status == "degraded" and "gone" in " ".join(health.reasons)

    await eventually(told, deadline=10)
    answer = await replica.ai.ReloadModels(pb.ReloadModelsRequest(), timeout=5)
    assert answer.active_version == FIRST.name
    assert "there is no artifact gone" in answer.refused[0]
    await store(bus, "gone")
    answer = await replica.ai.ReloadModels(pb.ReloadModelsRequest(), timeout=5)
    assert (answer.active_version, list(answer.refused)) == ("gone", [])
