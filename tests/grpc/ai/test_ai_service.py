"""AiService on a real server with the whole kit around it, and a real NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import generate_latest
from quantum.ai.v1 import ai_service_pb2 as pb
from quantum.ai.v1 import ai_service_pb2_grpc as rpc
from quantum.ai.v1 import signal_pb2, universe_pb2

from services.ai.app import make_build
from services.ai.artifact import active_folder, load
from services.ai.settings import SHIPPED_MODELS, Settings
from services.catalog import subjects
from services.catalog.processes import AI
from services.ctl.servers.free import free_port as find_port
from services.kit.bus.bus import Bus
from services.kit.clock import SystemClock
from services.kit.process import Process
from services.trade.candle import Candle
from tests.integration.ai.candle_bus import Answers, market, outgoing, publish_history
from tests.support.eventually import eventually


class Running:
    """A served process and a channel to it."""

    def __init__(self, process: Process, channel: grpc.aio.Channel) -> None:
        self.process = process
        self.channel = channel
        self.ai: Any = rpc.AiServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)


@pytest.fixture
async def serve(nats_url: str, tmp_path: Path) -> AsyncIterator[Any]:
    started: list[tuple[Running, asyncio.Task[int]]] = []

    async def start(port: int, **changes: Any) -> Running:
        settings = Settings(
            **{
                "nats_url": nats_url,
                "grpc_address": f"127.0.0.1:{port}",
                "drain_delay_seconds": 0.0,
                "signal_share": 1.0,
                "drain_file": tmp_path / "drain",
                "maintenance_file": tmp_path / "maintenance",
                **changes,
            }
        )
        process = Process(AI, settings, SystemClock())
        task = asyncio.create_task(process.run(make_build(settings)))
        channel = grpc.aio.insecure_channel(settings.grpc_address)
        await channel.channel_ready()
        running = Running(process, channel)
        started.append((running, task))
        return running

    yield start
    for running, task in started:
        running.process.stop()
        assert await task == 0
        await running.channel.close()


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    opened = await Bus.connect(nats_url, "test")
    await opened.declare(subjects.STREAMS)
    yield opened
    await opened.close()


async def is_ready(running: Running) -> bool:
    return running.process.ready


async def test_what_was_predicted_can_be_read(serve: Any, bus: Bus, free_port: int) -> None:
    series = [market(symbol, 133) for symbol in ("AAAUSDT", "BBBUSDT")]
    await publish_history(bus, [candle for one in series for candle in one[:130]])
    running = await serve(free_port)
    await eventually(lambda: is_ready(running))
    found = Answers()
    await found.start(bus)
    live = [candle for one in series for candle in one[130:]]
    stream = running.ai.StreamSignals(pb.StreamSignalsRequest())
    await asyncio.sleep(0.2)
    await bus.publish_all([outgoing(candle) for candle in live])
    await eventually(lambda: found.has_all(live))
    signals = {signal.signal_id for _, signal in found.signals}
    streamed: set[str] = set()
    async with asyncio.timeout(10):
        while streamed != signals:
            streamed.add((await stream.read()).signal.signal_id)
    stream.cancel()

    answer = await running.ai.GetPredictions(pb.GetPredictionsRequest(), timeout=5)
    assert [p.symbol for p in answer.predictions] == ["AAAUSDT", "BBBUSDT"]
    for prediction, one in zip(answer.predictions, series, strict=True):
        assert prediction.candle_open_time.seconds * 1000 == one[-1].open_time
        last = await running.ai.GetSignal(pb.GetSignalRequest(symbol=prediction.symbol), timeout=5)
        assert last.prediction == prediction
        assert last.HasField("signal") == (prediction.action != signal_pb2.ACTION_HOLD)
    health = await running.ai.GetHealth(pb.GetHealthRequest(), timeout=5)
    assert health.status == "healthy"
    assert health.models_loaded
    assert health.symbols_ready == 2
    assert health.last_candle_time.seconds * 1000 == live[-1].close_time


async def test_a_fresh_replica_knows_what_the_others_said(
    serve: Any, bus: Bus, free_port: int
) -> None:
    batch = signal_pb2.PredictionBatch(
        venue="paper",
        model_version="old",
        predictions=[
            signal_pb2.Prediction(symbol="CCCUSDT", timeframe="1m", action=signal_pb2.ACTION_HOLD)
        ],
    )
    await bus.publish(
        subjects.prediction("paper", "1m"), batch.SerializeToString(), message_id="b1"
    )
    running = await serve(free_port)

    async def known() -> bool:
        answer = await running.ai.GetPredictions(pb.GetPredictionsRequest(), timeout=5)
        return [p.symbol for p in answer.predictions] == ["CCCUSDT"]

    await eventually(known)


async def test_a_symbol_without_a_prediction_is_not_found(serve: Any, free_port: int) -> None:
    running = await serve(free_port)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.ai.GetSignal(pb.GetSignalRequest(symbol="NONEUSDT"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_malformed_symbol_is_refused(serve: Any, free_port: int) -> None:
    running = await serve(free_port)
    for symbol in ("", "btcusdt", "BTC/USDT", "A" * 30):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.ai.GetSignal(pb.GetSignalRequest(symbol=symbol), timeout=5)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_models_are_listed_with_their_effective_weights(
    serve: Any, free_port: int
) -> None:
    """Incident 96: the weights that are told are those that are used."""
    running = await serve(free_port)
    models = (await running.ai.ListModels(pb.ListModelsRequest(), timeout=5)).models
    manifest = load(active_folder(SHIPPED_MODELS)).manifest
    expected = list(zip(manifest.models, manifest.weights, strict=True))
    assert [(m.name, m.weight) for m in models] == expected
    assert all(len(m.sha256) == 64 and m.metrics["log_loss"] > 0 for m in models)


async def test_without_a_verified_model_health_answers_and_says_why(
    serve: Any, free_port: int, tmp_path: Path
) -> None:
    """Incidents 94 and 99: a model that does not verify is not loaded, and that is told."""
    running = await serve(free_port, models_dir=tmp_path)
    health = await running.ai.GetHealth(pb.GetHealthRequest(), timeout=5)
    assert not health.models_loaded
    assert health.model_version == ""
    assert "ACTIVE cannot be read" in " ".join(health.reasons)
    for call in (
        running.ai.ListModels(pb.ListModelsRequest(), timeout=5),
        running.ai.GetReadiness(pb.GetReadinessRequest(), timeout=5),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    liveness = await running.health.Check(health_pb2.HealthCheckRequest(service=""), timeout=5)
    assert liveness.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_drain_ends_the_streams(serve: Any, bus: Bus, free_port: int) -> None:
    running = await serve(free_port)
    await eventually(lambda: is_ready(running))
    stream = running.ai.StreamSignals(pb.StreamSignalsRequest())
    await asyncio.sleep(0.2)
    running.process.stop()
    async with asyncio.timeout(4):
        assert await stream.read() is grpc.aio.EOF


async def test_the_metrics_have_the_names_of_the_guide(serve: Any, free_port: int) -> None:
    running = await serve(free_port)
    text = generate_latest(running.process.metrics.registry).decode()
    for name in (
        "ai_service_uptime_seconds",
        "ai_service_signals_generated_total",
        "ai_service_predictions_made_total",
        "ai_service_events_published_total",
        "ai_service_errors_total",
        "ai_service_signal_latency_seconds_bucket",
    ):
        assert f"\n{name}" in text
    assert 'le="10.0"' in text


async def test_the_universe_is_ranked_once_an_interval_and_the_regime_told_on_change(
    serve: Any, bus: Bus, free_port: int
) -> None:
    """Incident 102: what is told of a symbol comes from its candles."""
    rising = [rise(one, n) for n, one in enumerate(market("BTCUSDT", 430))]
    others = [market(symbol, 430) for symbol in ("AAAUSDT", "BBBUSDT")]
    series = [rising, *others]
    await publish_history(bus, [candle for one in series for candle in one[:410]])
    running = await serve(free_port, universe_scan_interval_seconds=300)
    other = await serve(find_port(), universe_scan_interval_seconds=300)
    await eventually(lambda: is_ready(running))
    await eventually(lambda: is_ready(other))
    none = await running.ai.GetTopOpportunities(pb.GetTopOpportunitiesRequest(), timeout=5)
    assert not none.opportunities
    assert not none.HasField("timestamp")
    regimes: list[universe_pb2.RegimeChanged] = []
    scans: list[universe_pb2.UniverseOpportunity] = []
    for subject, found, kind in (
        (subjects.ALL_REGIMES, regimes, universe_pb2.RegimeChanged),
        (subjects.ALL_OPPORTUNITIES, scans, universe_pb2.UniverseOpportunity),
    ):
        await bus.follow(
            subjects.LIVE.name,
            subject,
            lambda m, found=found, kind=kind: found.append(kind.FromString(m.data)),  # type: ignore[misc]
        )
    for number in range(410, 430):
        await bus.publish_all([outgoing(*(one[number] for one in series))])
    await eventually(lambda: len(scans) >= 4)
    times = [scan.timestamp.seconds for scan in scans]
    assert len({time // 300 for time in times}) == len(times)
    assert [r.regime for r in regimes] == [universe_pb2.MARKET_REGIME_UPTREND]
    assert regimes[0].previous == universe_pb2.MARKET_REGIME_UNKNOWN
    assert regimes[0].deviation > 0.02
    assert scans[-1].total_scanned == 3
    assert scans[-1].regime == universe_pb2.MARKET_REGIME_UPTREND

    async def same() -> bool:
        answers = [
            await one.ai.GetTopOpportunities(pb.GetTopOpportunitiesRequest(), timeout=5)
            for one in (running, other)
        ]
        return bool(answers[0] == answers[1] and answers[0].timestamp == scans[-1].timestamp)

    await eventually(same)
    answer = await running.ai.GetTopOpportunities(pb.GetTopOpportunitiesRequest(top_n=1), timeout=5)
    assert len(answer.opportunities) <= 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.ai.GetTopOpportunities(pb.GetTopOpportunitiesRequest(top_n=1001), timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def rise(one: Candle, number: int) -> Candle:
    """Return a candle on a price that gains five cents a minute."""
    return replace(
        one,
        open=100 + number * Decimal("0.05"),
        high=Decimal("100.2") + number * Decimal("0.05"),
        low=Decimal("99.9") + number * Decimal("0.05"),
        close=Decimal("100.1") + number * Decimal("0.05"),
    )
