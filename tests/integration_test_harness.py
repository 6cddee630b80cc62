"""The check after maintenance: does the running system really trade?

    python tests/integration_test_harness.py --address 127.0.0.1:8080

Asks the stack through its gateway, as an operator would, and follows one entry from its signal to
the ledger. Every check is about something that happened after the harness started, so a stack that
only looks alive fails. Exit code 0 when all checks pass, 1 when one fails.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from quantum.ai.v1 import ai_service_pb2 as ai_pb
from quantum.ai.v1 import ai_service_pb2_grpc as ai_rpc
from quantum.analytics.v1 import analytics_service_pb2 as analytics_pb
from quantum.analytics.v1 import analytics_service_pb2_grpc as analytics_rpc
from quantum.exec_risk.v1 import exec_risk_service_pb2 as exec_pb
from quantum.exec_risk.v1 import exec_risk_service_pb2_grpc as exec_rpc
from quantum.exec_risk.v1 import trading_pb2
from rich.console import Console
from rich.table import Table

CALL_SECONDS = 5.0
LOAD_CALLS = 100
LOAD_CALLERS = 10


class CheckFailed(Exception):
    """What should hold does not; the text says what was seen instead."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found."""

    name: str
    passed: bool
    detail: str
    seconds: float


@dataclass(slots=True)
class Harness:
    """The checks of one run against one gateway."""

    address: str
    deadline: float
    outcomes: list[Outcome] = field(default_factory=list)
    ai: Any = None
    exec: Any = None
    analytics: Any = None
    trace: str = ""
    """Trace of the entry that is followed."""
    found: set[str] = field(default_factory=set)
    """Types of the ledger's events in that trace."""
    pair: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))
    """Open positions of executor and ledger."""

    async def run(self) -> bool:
        """Run every check, also after one failed; True when all passed."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            self.ai = ai_rpc.AiServiceStub(channel)
            self.exec = exec_rpc.ExecRiskServiceStub(channel)
            self.analytics = analytics_rpc.AnalyticsServiceStub(channel)
            checks: list[tuple[str, Callable[[], Awaitable[str]]]] = [
                ("every service is healthy", self.health),
                ("every service is ready", self.readiness),
                ("bad input is refused by name", self.bad_input),
                ("the market moves and is predicted", self.market_moves),
                ("a new entry is filled and protected", self.entry_is_filled),
                ("its trace reaches the ledger", self.trace_is_whole),
                ("ledger and executor hold the same positions", self.positions_agree),
                (f"{LOAD_CALLS} calls by {LOAD_CALLERS} callers", self.load),
            ]
            for name, check in checks:
                await self._one(name, check)
        return all(outcome.passed for outcome in self.outcomes)

    async def _one(self, name: str, check: Callable[[], Awaitable[str]]) -> None:
        started = time.monotonic()
        try:
            detail, passed = await check(), True
        except (CheckFailed, TimeoutError) as error:
            detail, passed = str(error) or "timed out", False
        except grpc.aio.AioRpcError as error:
            detail, passed = f"{error.code().name}: {error.details()}", False
        self.outcomes.append(Outcome(name, passed, detail, time.monotonic() - started))

    async def health(self) -> str:
        """GetHealth of the three services says healthy, with what the guide reads of it."""
        ai = await self.ai.GetHealth(ai_pb.GetHealthRequest(), timeout=CALL_SECONDS)
        executor = await self.exec.GetHealth(exec_pb.GetHealthRequest(), timeout=CALL_SECONDS)
        analytics = await self.analytics.GetHealth(
            analytics_pb.GetHealthRequest(), timeout=CALL_SECONDS
        )
        wrong = [f"{h.service} is {h.status}" for h in (ai, executor, analytics)]
        wrong = [text for text in wrong if not text.endswith(" healthy")]
        if not ai.models_loaded:
            wrong.append("no model is loaded")
        if not executor.binance_connected:
            wrong.append("the exchange is not connected")
        wrong += [f"{k} is {v}" for k, v in analytics.service_health.items() if v != "healthy"]
        if wrong:
            raise CheckFailed("; ".join(wrong))
        return f"venue {executor.venue}, model {ai.model_version}"

    async def readiness(self) -> str:
        """GetReadiness answers."""
        await self.ai.GetReadiness(ai_pb.GetReadinessRequest(), timeout=CALL_SECONDS)
        await self.exec.GetReadiness(exec_pb.GetReadinessRequest(), timeout=CALL_SECONDS)
        await self.analytics.GetReadiness(analytics_pb.GetReadinessRequest(), timeout=CALL_SECONDS)
        return "ready"

    async def bad_input(self) -> str:
        """A request that breaks a rule gets INVALID_ARGUMENT."""
        try:
            await self.ai.GetSignal(
                ai_pb.GetSignalRequest(symbol="not a symbol"), timeout=CALL_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                return error.details() or ""
            raise
        raise CheckFailed("a symbol with blanks was taken")

    async def market_moves(self) -> str:
        """A later candle is predicted than at the start."""
        before = await self._last_predicted()

        async def later() -> str | None:
            now = await self._last_predicted()
            return f"candle of {now.ToJsonString()}" if _after(now, before) else None

        return await self._until(later, "no later candle was predicted")

    async def _last_predicted(self) -> Timestamp:
        answer = await self.ai.GetPredictions(ai_pb.GetPredictionsRequest(), timeout=CALL_SECONDS)
        times = [p.candle_close_time for p in answer.predictions]
        return max(times, key=_nanoseconds) if times else Timestamp()

    async def entry_is_filled(self) -> str:
        """An entry decided after the start fills at a real price, and its position has a stop."""
        began = await self._last_predicted()

        async def filled() -> str | None:
            page = await self.exec.ListPositions(
                exec_pb.ListPositionsRequest(page_size=100), timeout=CALL_SECONDS
            )
            for position in page.positions:
                if not _after(position.opened_time, began):
                    continue
                if position.status == "open" and not position.stop_loss_price:
                    continue
                self.trace = position.trace_id
                side = trading_pb2.PositionSide.Name(position.side).removeprefix("POSITION_SIDE_")
                return f"{side} {position.symbol} at {position.entry_price}"
            return None

        return await self._until(filled, "no new entry was filled and protected")

    async def trace_is_whole(self) -> str:
        """The ledger holds the entry's signal, decision, order, fill and position in one trace."""
        wanted = {
            "signal.generated",
            "risk.decided",
            "order.changed",
            "fill.recorded",
            "position.opened",
        }
        if not self.trace:
            raise CheckFailed("there is no entry to follow")

        async def complete() -> str | None:
            page = await self.analytics.ListEvents(
                analytics_pb.ListEventsRequest(trace_id=self.trace, page_size=200),
                timeout=CALL_SECONDS,
            )
            self.found = {event.type for event in page.events}
            return self.trace if wanted <= self.found else None

        try:
            return await self._until(complete, "")
        except CheckFailed:
            missing = ", ".join(sorted(wanted - self.found))
            raise CheckFailed(f"trace {self.trace} lacks {missing}") from None

    async def positions_agree(self) -> str:
        """What the ledger says is open is what the executor says is open."""

        async def same() -> str | None:
            self.pair = (await self._executor_positions(), await self._ledger_positions())
            return f"{len(self.pair[0])} open" if self.pair[0] == self.pair[1] else None

        try:
            return await self._until(same, "")
        except CheckFailed:
            raise CheckFailed(f"executor {self.pair[0]}, ledger {self.pair[1]}") from None

    async def _executor_positions(self) -> dict[str, str]:
        page = await self.exec.ListPositions(
            exec_pb.ListPositionsRequest(status="open", page_size=1000), timeout=CALL_SECONDS
        )
        return {p.symbol: p.quantity for p in page.positions}

    async def _ledger_positions(self) -> dict[str, str]:
        portfolio = await self.analytics.GetPortfolio(
            analytics_pb.GetPortfolioRequest(), timeout=CALL_SECONDS
        )
        return {p.symbol: p.quantity for p in portfolio.positions}

    async def load(self) -> str:
        """Concurrent reads of all services: none fails."""
        calls = [
            (self.ai.GetPredictions, ai_pb.GetPredictionsRequest()),
            (self.exec.ListOrders, exec_pb.ListOrdersRequest()),
            (self.analytics.GetPortfolio, analytics_pb.GetPortfolioRequest()),
        ]
        gate = asyncio.Semaphore(LOAD_CALLERS)

        async def one(number: int) -> float:
            method, request = calls[number % len(calls)]
            async with gate:
                started = time.monotonic()
                await method(request, timeout=CALL_SECONDS)
                return time.monotonic() - started

        taken = sorted(await asyncio.gather(*(one(n) for n in range(LOAD_CALLS))))
        return f"slowest {taken[-1] * 1000:.0f} ms"

    async def _until(self, look: Callable[[], Awaitable[str | None]], failure: str) -> str:
        end = time.monotonic() + self.deadline
        while time.monotonic() < end:
            if found := await look():
                return found
            await asyncio.sleep(0.2)
        raise CheckFailed(f"{failure} within {self.deadline:.0f} s")


def _nanoseconds(moment: Timestamp) -> int:
    return moment.seconds * 1_000_000_000 + moment.nanos


def _after(moment: Timestamp, other: Timestamp) -> bool:
    return _nanoseconds(moment) > _nanoseconds(other)


def show(harness: Harness) -> None:
    """Print what every check found."""
    table = Table(title=f"Integration check of {harness.address}")
    for heading in ("check", "result", "seconds", "seen"):
        table.add_column(heading)
    for outcome in harness.outcomes:
        result = "[green]passed[/]" if outcome.passed else "[red]FAILED[/]"
        table.add_row(outcome.name, result, f"{outcome.seconds:.1f}", outcome.detail)
    Console().print(table)


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--address", default="127.0.0.1:8080", help="gateway, host:port")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds for each event")
    arguments = parser.parse_args()
    harness = Harness(arguments.address, arguments.deadline)
    passed = asyncio.run(harness.run())
    show(harness)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
