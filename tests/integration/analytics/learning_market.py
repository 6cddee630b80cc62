"""A market whose regime changes, models that read one regime each, and an ai and a trainer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import grpc
import numpy as np
from quantum.ai.v1 import ai_service_pb2 as ai
from quantum.ai.v1 import ai_service_pb2_grpc as rpc
from quantum.ai.v1 import registry_pb2, signal_pb2
from quantum.analytics.v1 import learning_pb2 as pb

from services.catalog import subjects
from services.catalog.events import PREDICTION, TRAINING_PROGRESS
from services.kit.bus.bus import Bus, Delivery, Outgoing, Worker
from services.trade.candle import Candle
from services.trade.codec import candles_to_bytes, time_to_pb
from services.trade.ids import digest
from tests.integration.analytics.ledger_samples import MAY, MINUTE

SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT")
OLD, NEW = "old-1m-h15", "new-1m-h15"
SURE, REST = 0.6, 0.2


@dataclass
class Market:
    """Trends for hours in the calm regime, turns back in the wild one."""

    bus: Bus
    minute: int = 0
    wild: bool = False
    prices: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SYMBOLS, 100.0))
    last: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SYMBOLS, 1.0))
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(11))

    @property
    def time(self) -> int:
        """Close of the last candle."""
        return MAY + self.minute * MINUTE

    async def pass_time(self, minutes: int, ai: FakeAi | None) -> None:
        """Publish candles, and what the models say of each."""
        messages: list[Outgoing] = []
        for _ in range(minutes):
            messages.append(_message([self._candle(symbol) for symbol in SYMBOLS]))
            self.minute += 1
            if ai is not None:
                messages += ai.answers(self)
        await self.bus.publish_all(messages, deadline=30.0)

    def _candle(self, symbol: str) -> Candle:
        before = self.prices[symbol]
        size, keep = (0.004, 0.10) if self.wild else (0.001, 0.90)
        up = (self.random.random() < keep) == (self.last[symbol] > 0)
        change = (1 if up else -1) * size * (0.5 + self.random.random())
        self.last[symbol], after = change, before * (1 + change)
        self.prices[symbol] = after
        texts = [before, max(before, after), min(before, after), after, 10.0]
        numbers = [Decimal(f"{x:.6f}") for x in texts]
        return Candle("paper", symbol, "1m", MAY + self.minute * MINUTE, *numbers)


def _message(candles: list[Candle]) -> Outgoing:
    return Outgoing(
        subjects.round_candles("paper", "1m", 0),
        candles_to_bytes(candles),
        candles[0].key,
        {subjects.HEADER_TIME: str(candles[0].close_time)},
    )


class FakeAi(rpc.AiServiceServicer):
    """Deploys at once; the old artifact follows the last move, the new one bets against it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.active, self.shadow = OLD, ""
        self.opposed = False
        """True: a second model says the contrary of the first."""
        self.calls: list[str] = []

    async def DeployModel(self, request: ai.DeployModelRequest, context: Any) -> Any:
        self.calls.append(f"deploy {request.version} {request.stage}")
        if request.stage == registry_pb2.STAGE_ACTIVE:
            self.active = request.version
        await self.point("" if request.stage == registry_pb2.STAGE_ACTIVE else request.version)
        return ai.DeployModelResponse(changed=True)

    async def point(self, version: str) -> None:
        """Have an artifact answer in the shadow."""
        if version == self.shadow:
            return
        self.shadow = version
        pointer = registry_pb2.ModelPointer(version=version, changed_by="test")
        await self._bus.publish(
            subjects.SHADOW_MODEL,
            pointer.SerializeToString(),
            message_id=digest("pointer", version, len(self.calls)),
        )

    async def RollbackModel(self, request: ai.RollbackModelRequest, context: Any) -> Any:
        self.calls.append(f"roll back {request.version}")
        self.active = OLD
        return ai.RollbackModelResponse(changed=True)

    def answers(self, market: Market) -> list[Outgoing]:
        """What the artifacts say of the last candle of each symbol."""
        found = [self._answer(market, self.active, shadow=False)]
        return [*found, self._answer(market, self.shadow, shadow=True)] if self.shadow else found

    def _answer(self, market: Market, version: str, *, shadow: bool) -> Outgoing:
        predictions = []
        for symbol in SYMBOLS:
            up = (market.last[symbol] > 0) == (version == OLD)
            down_up = (REST, SURE) if up else (SURE, REST)
            vote = signal_pb2.ModelVote(
                model="lightgbm", p_down=down_up[0], p_flat=REST, p_up=down_up[1], weight=1.0
            )
            votes = [vote]
            if self.opposed:
                vote.weight = 0.5
                votes.append(
                    signal_pb2.ModelVote(
                        model="xgboost", p_down=down_up[1], p_flat=REST, p_up=down_up[0], weight=0.5
                    )
                )
            predictions.append(
                signal_pb2.Prediction(
                    symbol=symbol,
                    timeframe="1m",
                    candle_open_time=time_to_pb(market.time - MINUTE),
                    candle_close_time=time_to_pb(market.time),
                    action=signal_pb2.ACTION_HOLD,
                    confidence=SURE,
                    p_down=down_up[0],
                    p_flat=REST,
                    p_up=down_up[1],
                    votes=votes,
                )
            )
        batch = signal_pb2.PredictionBatch(
            venue="paper", predictions=predictions, model_version=version, shadow=shadow
        )
        make = subjects.shadow_prediction if shadow else subjects.prediction
        return Outgoing(
            make("paper", "1m"),
            batch.SerializeToString(),
            digest("prediction", version, market.time),
            {
                subjects.HEADER_TYPE: PREDICTION,
                subjects.HEADER_SOURCE: "ai-service",
                subjects.HEADER_TIME: str(market.time),
            },
        )


def fake_ai(bus: Bus) -> FakeAi:
    """Return one; what is not asked of it here stays unanswered."""
    return FakeAi(bus)  # type: ignore[abstract]


@asynccontextmanager
async def serving(servicer: FakeAi, port: int) -> AsyncIterator[str]:
    """Serve the ai; yields its address."""
    server = grpc.aio.server()
    rpc.add_AiServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@dataclass
class FakeTrainer:
    """Takes jobs and says of each that the new artifact is made, or that it cannot be."""

    bus: Bus
    error: str = ""
    jobs: list[pb.TrainCommand] = field(default_factory=list)
    worker: Worker | None = None

    async def start(self) -> None:
        """Take jobs."""
        self.worker = await self.bus.work(
            subjects.COMMANDS.name, "trainer", subjects.TRAIN_COMMANDS, self._train
        )

    async def _train(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            command = pb.TrainCommand.FromString(delivery.data)
            self.jobs.append(command)
            await self.say(command.job_id, pb.TRAINING_STATE_RUNNING, 0.0)
            await asyncio.sleep(0.3)
            if self.error:
                await self.say(command.job_id, pb.TRAINING_STATE_FAILED, 0.5)
            else:
                await self.say(command.job_id, pb.TRAINING_STATE_COMPLETED, 1.0)

    async def say(self, job: str, state: pb.TrainingState.ValueType, progress: float) -> None:
        """Tell how far a job is."""
        done = state == pb.TRAINING_STATE_COMPLETED
        message = pb.TrainingProgress(
            job_id=job,
            state=state,
            progress=progress,
            model_version=NEW if done else "",
            error=self.error,
        )
        await self.bus.publish(
            subjects.training_progress(job),
            message.SerializeToString(),
            message_id=digest(TRAINING_PROGRESS, job, state),
            headers={subjects.HEADER_TYPE: TRAINING_PROGRESS},
        )
