"""The ai service, wired."""

from __future__ import annotations

from functools import partial

from quantum.ai.v1 import ai_service_pb2_grpc

from services.ai.candle_reader import CandleReader
from services.ai.consumers import CandleAnswerer
from services.ai.core.watch import ModelWatch
from services.ai.core.windows import Windows
from services.ai.deployment import Deployment
from services.ai.fund_reader import FundReader
from services.ai.gap_requests import GapRequests
from services.ai.inference import Inference
from services.ai.live_consumer import LiveAnswers
from services.ai.market_views import MarketViews, UniverseSettings
from services.ai.measures import Measures
from services.ai.registry import Registry
from services.ai.servicer import AiServicer
from services.ai.settings import Settings
from services.ai.shadow import ShadowAnswerer
from services.ai.slot import GateSettings, ModelSlot, tell_excluded
from services.kit.process import Build, Process
from services.kit.server import Servicers


def make_build(settings: Settings) -> Build:
    """Return what builds the service of these settings."""

    async def build(process: Process) -> Servicers:
        measures = Measures(process.metrics)
        slot = ModelSlot(
            models=settings.models_dir,
            gate=GateSettings(
                floor=settings.min_confidence_threshold,
                ttl_seconds=settings.signal_ttl_seconds,
            ),
            components=process.components,
            metrics=process.metrics,
            clock=process.clock,
            degraded=process.degraded,
        )
        await slot.refresh()
        process.spawn("models", slot.keep())
        inference = Inference(workers=settings.ai_num_workers, most=settings.ai_batch_size)
        process.on_stop(inference.close)
        watch = ModelWatch()
        live = LiveAnswers(capacity=settings.ai_cache_size, measures=measures, watch=watch)
        process.on_drain(live.close)
        windows = Windows()
        views = MarketViews(
            windows=windows,
            manifest=lambda: slot.manifest,
            settings=UniverseSettings(
                enabled=settings.universe_scan_enabled,
                interval_ms=settings.universe_scan_interval_seconds * 1000,
                top=settings.top_opportunities,
            ),
            measures=measures,
        )
        fund = FundReader(clock=process.clock, share=settings.signal_share)
        gaps = GapRequests(
            windows=windows,
            manifest=lambda: slot.manifest,
            warm=lambda: reader.warm,
            measures=measures,
            degraded=process.degraded,
        )
        reader = CandleReader(
            windows=windows,
            measures=measures,
            progress=process.progress,
            on_kept=gaps.take,
            on_live=views.take,
        )
        answerer = CandleAnswerer(
            slot=slot,
            fund=fund,
            watch=watch,
            inference=inference,
            components=process.components,
            measures=measures,
            telemetry=process.telemetry,
            clock=process.clock,
            progress=process.progress,
            reader=reader,
            on_excluded=partial(tell_excluded, process.degraded),
        )
        answerer.on_said = live.own.say
        process.on_drain(answerer.drain)
        shadow = ShadowAnswerer(slot=slot, fund=fund, windows=windows, metrics=process.metrics)
        answerer.on_answered = shadow.offer
        process.on_stop(shadow.close)
        registry = Registry(
            slot=slot,
            clock=process.clock,
            metrics=process.metrics,
            newest_close=lambda: windows.newest_close_of_all if reader.warm else 0,
        )
        deployment = Deployment(
            registry=registry, slot=slot, models=settings.models_dir, timeframes=windows.timeframes
        )
        process.spawn(
            "candles", _read(process, answerer, live, views, fund, registry, shadow, gaps)
        )
        return [
            (
                ai_service_pb2_grpc.add_AiServiceServicer_to_server,
                AiServicer(
                    process=process,
                    slot=slot,
                    reader=reader,
                    live=live,
                    views=views,
                    deployment=deployment,
                ),
            )
        ]

    return build


async def _read(
    process: Process,
    answerer: CandleAnswerer,
    live: LiveAnswers,
    views: MarketViews,
    fund: FundReader,
    registry: Registry,
    shadow: ShadowAnswerer,
    gaps: GapRequests,
) -> None:
    """Connect, which may wait for the server: health answers meanwhile."""
    process.components.set("nats", False, "connecting")
    bus = await process.connect_bus()
    await registry.start(bus)
    process.spawn("registry", registry.keep())
    process.spawn("shadow", shadow.run(bus))
    process.spawn("gaps", gaps.run(bus))
    await fund.start(bus)
    await live.start(bus)
    process.spawn("market-views", views.run(bus))
    await answerer.run(bus)
