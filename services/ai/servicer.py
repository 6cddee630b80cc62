"""AiService: what the models say, and how the service is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from quantum.ai.v1 import ai_service_pb2 as pb
from quantum.ai.v1 import ai_service_pb2_grpc as rpc

from services.ai.candle_reader import CandleReader
from services.ai.codec import models_to_pb
from services.ai.core.pointers import Stage
from services.ai.deployment import Deployment
from services.ai.live_consumer import LiveAnswers
from services.ai.market_views import MarketViews
from services.ai.pointer_codec import pointer_to_pb
from services.ai.slot import ModelSlot
from services.catalog.processes import VERSION
from services.kit.errors import NotFound, Unavailable
from services.kit.process import Process
from services.trade.codec import time_to_pb

Context = grpc.aio.ServicerContext[Any, Any]


class AiServicer(rpc.AiServiceServicer):
    """Answers from the bus, so that every replica gives the whole."""

    def __init__(
        self,
        *,
        process: Process,
        slot: ModelSlot,
        reader: CandleReader,
        live: LiveAnswers,
        deployment: Deployment,
        views: MarketViews,
    ) -> None:
        self._process = process
        self._slot = slot
        self._reader = reader
        self._live = live
        self._deployment = deployment
        self._views = views

    async def GetHealth(
        self, request: pb.GetHealthRequest, context: Context
    ) -> pb.GetHealthResponse:
        """Tell how the service is, also when it is not ready."""
        process, manifest = self._process, self._slot.manifest
        windows = self._reader.windows
        ready = windows.ready(manifest.timeframe, manifest.window) if manifest else []
        newest = windows.newest_close_of_all
        return pb.GetHealthResponse(
            status=self._status(),
            service=process.names.name,
            version=VERSION,
            build=process.settings.build_id,
            uptime_seconds=process.uptime_seconds,
            models_loaded=manifest is not None,
            model_version=manifest.version if manifest else "",
            symbols_ready=len({key.symbol for key in ready}),
            last_candle_time=time_to_pb(newest) if newest else None,
            reasons=process.reasons,
        )

    async def GetReadiness(
        self, request: pb.GetReadinessRequest, context: Context
    ) -> pb.GetReadinessResponse:
        """Answer when the service can do its work."""
        self._process.components.require_ready(self._process.names.name)
        return pb.GetReadinessResponse(status="ready")

    async def GetSignal(
        self, request: pb.GetSignalRequest, context: Context
    ) -> pb.GetSignalResponse:
        """Return the last word of the models on a symbol."""
        last = self._live.last_of(request.symbol)
        if last is None:
            raise NotFound(
                f"no prediction of {request.symbol} yet",
                reason="NO_PREDICTION",
                metadata={"symbol": request.symbol},
            )
        return pb.GetSignalResponse(prediction=last.prediction, signal=last.signal)

    async def StreamSignals(
        self, request: pb.StreamSignalsRequest, context: Context
    ) -> AsyncIterator[pb.StreamSignalsResponse]:
        """Send signals as they are made."""
        wanted = set(request.symbols)
        async for signal in self._live.signals():
            if not wanted or signal.symbol in wanted:
                yield pb.StreamSignalsResponse(signal=signal)

    async def GetPredictions(
        self, request: pb.GetPredictionsRequest, context: Context
    ) -> pb.GetPredictionsResponse:
        """Return the last prediction of every symbol."""
        return pb.GetPredictionsResponse(predictions=self._live.predictions())

    async def GetTopOpportunities(
        self, request: pb.GetTopOpportunitiesRequest, context: Context
    ) -> pb.GetTopOpportunitiesResponse:
        """Return the best symbols of the last scan; none before the first."""
        scan = self._views.newest
        if scan is None:
            return pb.GetTopOpportunitiesResponse()
        best = scan.ranked_symbols[: request.top_n or len(scan.ranked_symbols)]
        return pb.GetTopOpportunitiesResponse(
            opportunities=best,
            timestamp=scan.timestamp,
            total_scanned=scan.total_scanned,
            regime=scan.regime,
        )

    async def ListModels(
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        """Return the members of the loaded artifact, and all artifacts."""
        manifest = self._slot.manifest
        if manifest is None:
            raise Unavailable(
                "no verified model is loaded",
                reason="NO_MODEL",
                metadata={"models": "; ".join(self._process.components.reasons())},
            )
        deployment = self._deployment
        return pb.ListModelsResponse(
            models=models_to_pb(manifest, self._slot.weights),
            artifacts=await deployment.artifacts(),
            active=deployment.pointer(Stage.ACTIVE),
            shadow=deployment.pointer(Stage.SHADOW),
        )

    async def DeployModel(
        self, request: pb.DeployModelRequest, context: Context
    ) -> pb.DeployModelResponse:
        """Put an artifact to a stage."""
        self._process.components.require_ready(self._process.names.name)
        pointer, changed = await self._deployment.deploy(request)
        return pb.DeployModelResponse(pointer=pointer_to_pb(pointer), changed=changed)

    async def RollbackModel(
        self, request: pb.RollbackModelRequest, context: Context
    ) -> pb.RollbackModelResponse:
        """Have the artifact that was active before answer again."""
        self._process.components.require_ready(self._process.names.name)
        pointer, changed = await self._deployment.rollback(request)
        return pb.RollbackModelResponse(pointer=pointer_to_pb(pointer), changed=changed)

    async def ReloadModels(
        self, request: pb.ReloadModelsRequest, context: Context
    ) -> pb.ReloadModelsResponse:
        """Look at pointers and artifacts again at once."""
        slot = self._slot
        await slot.reload()
        return pb.ReloadModelsResponse(
            active_version=self._deployment.running,
            shadow_version=slot.shadow.model.manifest.version if slot.shadow else "",
            refused=slot.refused,
        )

    def _status(self) -> str:
        if self._process.components.ready or self._reader.warm:
            return self._process.status
        return "starting"
