"""Two real replicas on one database, bus and venue, an adviser, and a watch on who writes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from quantum.ai.v1 import signal_pb2
from quantum.analytics.v1 import events_pb2

from services.catalog import subjects
from services.ctl.servers.command import Command
from services.kit.bus.bus import Bus, BusUnavailable, Message, Outgoing
from services.trade.candle import Candle
from services.trade.codec import candles_from_bytes, time_to_pb
from tests.support.advice import batch_of

ROOT = Path(__file__).resolve().parents[3]
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
AUDITED = ("orders", "fills", "positions", "plans", "account", "leader_status")
AUDIT = """
create table audit (
    id bigserial primary key, who text not null, what text not null,
    at timestamptz not null default clock_timestamp()
);
create function note_write() returns trigger language plpgsql as $$
begin
    insert into exec_risk.audit (who, what)
    values (current_setting('application_name'), tg_argv[0]);
    return null;
end $$;
create function note_take() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' or new.token <> old.token then
        insert into exec_risk.audit (who, what) values (new.owner, 'take');
    end if;
    return null;
end $$;
create trigger noted after insert or update on lease
for each row execute function note_take();
"""


@dataclass(slots=True)
class Replica:
    """One `python -m services.exec_risk`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, name: str, environment: dict[str, str], home: Path) -> Replica:
        """Start it; it stands by until the lease is free."""
        log = home / f"{name}.log"
        given = {**environment, "SERVICE_INSTANCE": name}
        arguments = (sys.executable, "-m", "services.exec_risk")
        command = Command(arguments=arguments, log=log, directory=ROOT, environment=given)
        return cls(name, command.spawn(), log)

    def send(self, number: signal.Signals) -> None:
        """Signal it."""
        os.kill(self.process.pid, number)

    def logged(self, event: str) -> int:
        """Count lines of its log that hold a text."""
        return self.log.read_text().count(event)

    def end(self) -> None:
        """End it for good."""
        self.process.kill()
        self.process.wait()


class Adviser:
    """Answers every closed candle as ai and analytics would, the same way each time."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._candles: asyncio.Queue[Candle] = asyncio.Queue()
        self._history: dict[str, int] = {}
        self.advise: Callable[[Candle], signal_pb2.PredictionBatch] = batch_of
        self.answering = asyncio.Event()
        self.answering.set()

    @classmethod
    @asynccontextmanager
    async def at_work(cls, bus: Bus) -> AsyncIterator[Adviser]:
        """Answer for the time of the block."""
        made = cls(bus)
        await bus.follow(subjects.MARKET.name, subjects.ALL_CANDLES, made._take, start="all")
        task = asyncio.create_task(made._answer())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _take(self, message: Message) -> None:
        for candle in candles_from_bytes(message.data).candles:
            if subjects.HEADER_HISTORY in message.headers:
                self._history[candle.symbol] = self._history.get(candle.symbol, 0) + 1
            else:
                self._candles.put_nowait(candle)

    async def _publish(self, answers: list[Outgoing]) -> None:
        """Tell them; a bus that is away is waited for."""
        while True:
            try:
                await self._bus.publish_all(answers)
            except BusUnavailable:
                await asyncio.sleep(0.2)
            else:
                return

    async def _answer(self) -> None:
        while True:
            candle = await self._candles.get()
            await self.answering.wait()
            observed = events_pb2.RoundObserved(account="main", time=time_to_pb(candle.close_time))
            await self._publish(
                [
                    Outgoing(
                        subjects.prediction(candle.venue, candle.timeframe),
                        self.advise(candle).SerializeToString(),
                        f"prediction-{candle.key}",
                    ),
                    Outgoing(
                        subjects.round_observed("main"),
                        observed.SerializeToString(),
                        f"observed-{candle.close_time}",
                    ),
                ]
            )


class Book:
    """The executor's database, read as an operator would."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def watch_writers(self) -> None:
        """Note from now on who writes what, and each taking of the lease, in commit order."""
        await self._connection.execute("set search_path = exec_risk")
        await self._connection.execute(AUDIT)
        for table in AUDITED:
            await self._connection.execute(
                f"create trigger noted after insert or update on {table}"
                f" for each row execute function note_write('{table}')"
            )

    async def leader(self) -> str:
        """Return who holds the lease by the database's clock; '' when nobody does."""
        owner = await self._connection.fetchval(
            "select owner from lease where resource = 'account.main'"
            " and expires > clock_timestamp()"
        )
        return str(owner or "")

    async def ready_leader(self) -> str:
        """Return the leader that has reconciled and protects everything; '' when none does."""
        row = await self._connection.fetchrow("select instance, ready from leader_status")
        holder = await self.leader()
        return holder if row and row["ready"] and row["instance"] == holder else ""

    async def rounds(self) -> int:
        """Return how many rounds were decided."""
        return int(
            await self._connection.fetchval(
                "select count(*) from outbox where subject like '%.round.decided.%'"
            )
        )

    async def strangers(self) -> list[str]:
        """Return writes by a replica that did not hold the lease at that place in the order."""
        found, holder = [], ""
        for row in await self._connection.fetch("select * from audit order by id"):
            if row["what"] == "take":
                holder = row["who"]
            elif row["who"] != holder:
                found.append(f"{row['id']}: {row['who']} wrote {row['what']} under {holder}")
        return found

    async def rows(self, statement: str) -> list[Any]:
        """Read anything."""
        return list(await self._connection.fetch(statement))
