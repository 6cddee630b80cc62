"""The executor as it really runs, with servers that a drill may stop, kill and freeze."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import aiohttp
import asyncpg
import grpc
from quantum.ai.v1 import signal_pb2
from quantum.exec_risk.v1 import exec_risk_service_pb2_grpc as rpc

from services.catalog.subjects import STREAMS
from services.ctl.servers.free import free_port
from services.ctl.servers.nats import NatsServer
from services.ctl.servers.postgres import PostgresServer
from services.exec_risk.app import MIGRATIONS, SCHEMA
from services.exec_risk.exchange.binance import BinanceExchange
from services.exec_risk.exchange.settings import ExchangeSettings
from services.kit.bus.bus import Bus
from services.kit.clock import SystemClock
from services.kit.postgres.db import TRANSIENT
from services.kit.postgres.migrate import migrate
from services.trade.candle import Candle
from services.venue.app import RunningVenue, start_venue
from services.venue.settings import VenueSettings
from tests.integration.exec_risk.two_replicas import SYMBOLS, Adviser, Replica
from tests.support.advice import batch_with
from tests.support.eventually import eventually

WIDE = 0.04
HOLD, BUY, SELL = signal_pb2.ACTION_HOLD, signal_pb2.ACTION_BUY, signal_pb2.ACTION_SELL


@dataclass
class Script:
    """What the adviser says of each symbol; HOLD where nothing is said."""

    says: dict[str, signal_pb2.Action.ValueType] = field(default_factory=dict)

    def __call__(self, candle: Candle) -> signal_pb2.PredictionBatch:
        """Advise on a candle; stops are so wide that only the drill ends a position."""
        batch = batch_with(candle, self.says.get(candle.symbol, HOLD))
        for advice in batch.signals:
            advice.atr_fraction = WIDE
        return batch


class DrillDesk:
    """One account: PostgreSQL, NATS, the paper venue at a free pace, and replicas."""

    def __init__(
        self, home: Path, postgres: PostgresServer, nats: NatsServer, venue: RunningVenue
    ) -> None:
        self.account = "main"
        self.home = home
        self.postgres = postgres
        self.nats = nats
        self.venue = venue
        self.script = Script()
        self.adviser: Adviser
        self.venue_settings: VenueSettings
        self.environment: dict[str, str] = {}
        self.replicas: dict[str, Replica] = {}
        self.ports: dict[str, int] = {}

    def advise(self, advice: Callable[[Candle], signal_pb2.PredictionBatch]) -> None:
        """Have candles answered so from now on."""
        self.adviser.advise = advice

    def rest(self) -> None:
        """Answer no candle any more: in lockstep the market stands."""
        self.adviser.answering.clear()

    def start(self, name: str = "exec-a", **environment: str) -> Replica:
        """Start a replica."""
        port = self.ports.setdefault(name, free_port())
        given = {**self.environment, "GRPC_ADDRESS": f"127.0.0.1:{port}", **environment}
        made = self.replicas[name] = Replica.start(name, given, self.home)
        return made

    @asynccontextmanager
    async def calls(self, name: str = "exec-a") -> AsyncIterator[Any]:
        """Call a replica."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.ports[name]}") as channel:
            yield rpc.ExecRiskServiceStub(channel)

    def freeze_postgres(self) -> None:
        """Stop every process of the server where it stands."""
        _signal(self._family(), signal.SIGSTOP)

    def thaw_postgres(self) -> None:
        """Let them go on."""
        _signal(self._family(), signal.SIGCONT)

    def kill_postgres(self) -> None:
        """End every process of the server at once."""
        family = self._family()
        _signal(family, signal.SIGKILL)
        self.postgres.kill()

    def _family(self) -> list[int]:
        assert self.postgres.process is not None
        found = [self.postgres.process.pid]
        parents = _parents()
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    async def rows(self, statement: str, *values: Any) -> list[Any]:
        """Ask the database."""
        connection = await asyncpg.connect(self.postgres.dsn())
        try:
            await connection.execute("set search_path = exec_risk")
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    async def ready(self, deadline: float = 30, *, name: str = "") -> str:
        """Wait for a leader (that one) that protects everything; return its name."""

        async def leads() -> str:
            try:
                found = await self.rows(
                    "select s.instance from leader_status s join lease l on l.owner = s.instance"
                    " where s.ready and l.expires > clock_timestamp()"
                    " and s.updated_at > clock_timestamp() - interval '3 s' and s.account = $1",
                    self.account,
                )
            except TRANSIENT:
                return ""
            leader = str(found[0]["instance"]) if found else ""
            return leader if leader == (name or leader) else ""

        return str(await eventually(leads, deadline))

    async def decided(self) -> None:
        """Wait for the first round: before it no volume is known, and every entry is refused."""

        async def first() -> bool:
            statement = "select 1 from account where last_round is not null and account = $1"
            return bool(await self.rows(statement, self.account))

        await eventually(first, 30, 0.05)

    async def open(self, *symbols: str, action: signal_pb2.Action.ValueType = BUY) -> None:
        """Have positions opened and protected, then advise nothing more."""
        self.script.says = dict.fromkeys(symbols, action)

        async def protected() -> bool:
            found = await self.rows(
                "select 1 from positions p join orders o on o.position_id = p.position_id"
                " where p.status = 'open' and o.purpose = 'STOP_LOSS' and o.state = 'ACCEPTED'"
                " and p.symbol = any($1) and p.account = $2",
                list(symbols),
                self.account,
            )
            return len(found) >= len(symbols)

        await eventually(protected, 30, 0.05)
        self.script.says = {}

    async def held(self) -> dict[str, Decimal]:
        """Return what the venue holds."""
        client: Any = self._asked._client
        found = await client.fapiPrivateV3GetPositionRisk()
        held = {p["symbol"]: Decimal(p["positionAmt"]) for p in found}
        return {symbol: quantity for symbol, quantity in held.items() if quantity}

    def asked(self) -> BinanceExchange:
        """The venue, only asked: nothing is placed through it."""
        return self._asked

    @asynccontextmanager
    async def beside(self, account: str) -> AsyncIterator[DrillDesk]:
        """One more account on the same servers, on a venue of its own with the same market."""
        async with AsyncExitStack() as stack:
            venue = await stack.enter_async_context(start_venue(self.venue_settings))
            other = DrillDesk(self.home, self.postgres, self.nats, venue)
            other.account, other.script, other.adviser = account, self.script, self.adviser
            other.environment = {
                **self.environment,
                "ACCOUNT": account,
                "PAPER_VENUE_URL": venue.url,
            }
            await other.connect(stack)
            try:
                yield other
            finally:
                for replica in other.replicas.values():
                    replica.end()

    async def connect(self, stack: AsyncExitStack) -> None:
        """Open what the drill looks through."""
        settings = ExchangeSettings(
            venue="paper",
            timeframe="1m",
            symbols=SYMBOLS,
            url=self.venue.url,
            api_key="paper-key",
            api_secret="paper-secret",
        )
        self._asked = BinanceExchange(settings, SystemClock())
        stack.push_async_callback(self._asked.close)

    async def stops(self) -> set[str]:
        """Return the symbols for which a stop rests at the venue."""
        client: Any = self._asked._client
        found = await client.fapiPrivateGetOpenAlgoOrders()
        return {o["symbol"] for o in found if o["orderType"] == "STOP_MARKET"}

    async def taken(self, *symbols: str) -> list[str]:
        """Return the client id of every order that the venue ever took, once an order."""
        client: Any = self._asked._client
        found: list[str] = []
        for symbol in symbols or SYMBOLS:
            plain = await client.fapiPrivateGetAllOrders({"symbol": symbol, "limit": 1000})
            waiting = await client.fapiPrivateGetAllAlgoOrders({"symbol": symbol, "limit": 1000})
            conditional = [o["clientAlgoId"] for o in waiting]
            found += conditional
            found += [o["clientOrderId"] for o in plain if o["clientOrderId"] not in conditional]
        return found

    async def by_hand(self, symbol: str, side: str, quantity: str, client_id: str) -> None:
        """Place a market order as a person at the exchange's own page does."""
        client: Any = self._asked._client
        await client.fapiPrivatePostOrder(
            {
                "symbol": symbol,
                "side": side,
                "type": "MARKET",
                "quantity": quantity,
                "newClientOrderId": client_id,
            }
        )

    async def leverage_by_hand(self, leverage: int) -> None:
        """Set the leverage of every symbol as a person at the exchange's own page does."""
        client: Any = self._asked._client
        for symbol in SYMBOLS:
            await client.fapiPrivatePostLeverage({"symbol": symbol, "leverage": leverage})

    async def fault(self, kind: str, **parameters: Any) -> None:
        """Put a fault in force on the venue."""
        await self._faults("POST", {"kind": kind, **parameters})

    async def end_faults(self) -> None:
        """End all of them."""
        await self._faults("DELETE", None)

    async def _faults(self, method: str, body: Any) -> None:
        headers = {"X-MBX-APIKEY": "paper-key"}
        url = f"{self.venue.url}/paper/v1/faults"
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, url, json=body) as answer,
        ):
            assert answer.status < 300, await answer.text()

    async def assert_same_books(self) -> None:
        """Fills, positions and stops are the venue's, to the last digit."""

        async def same() -> bool:
            snapshot = await self.asked().snapshot(0)
            theirs = {
                (f.symbol, f.trade_id): (f.price, f.quantity, f.commission) for f in snapshot.fills
            }
            ours = {
                (r["symbol"], r["trade_id"]): (r["price"], r["quantity"], r["commission"])
                for r in await self.rows("select * from fills where account = $1", self.account)
            }
            assert ours == theirs, f"{set(ours) ^ set(theirs)}"
            return True

        await eventually(same, 10, 0.2)
        await eventually(self._same_positions, 10, 0.2)

    async def _same_positions(self) -> bool:
        snapshot = await self.asked().snapshot(0)
        held = {p.symbol: p.quantity for p in snapshot.account.positions if p.quantity}
        rows = await self.rows(
            "select * from positions where status = 'open' and account = $1", self.account
        )
        signs = {"LONG": 1, "SHORT": -1}
        assert held == {r["symbol"]: r["quantity"] * signs[r["side"]] for r in rows}
        stops = {o.symbol for o in snapshot.open_orders if o.client_order_id.startswith("qts")}
        assert held.keys() <= stops, f"{held.keys() - stops} have no stop"
        return True


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            found[int(entry.name)] = int(stat.rsplit(")", 1)[1].split()[1])
    return found


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue  # it ended meanwhile


@asynccontextmanager
async def drill_desk(
    home: Path,
    *,
    speed: float = 2.0,
    pace: Literal["lockstep", "free"] = "free",
    **environment: str,
) -> AsyncIterator[DrillDesk]:
    """Everything but the replicas, which the drill starts; `environment` goes to them."""
    home.chmod(0o755)
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(PostgresServer.start(home / "postgres"))
        nats = await stack.enter_async_context(NatsServer.start(home / "nats"))
        settings = VenueSettings(
            _env_file=None,
            venue_speed=speed,
            venue_pace=pace,
            # what looks on asks often
            venue_weight_limit=1_000_000,
        )
        venue = await stack.enter_async_context(start_venue(settings))
        await migrate(postgres.dsn(), SCHEMA, MIGRATIONS)
        desk = DrillDesk(home, postgres, nats, venue)
        desk.venue_settings = settings
        await desk.connect(stack)
        bus = await Bus.connect(nats.url, "adviser")
        stack.push_async_callback(bus.close)
        await bus.declare(STREAMS)
        adviser = await stack.enter_async_context(Adviser.at_work(bus))
        desk.adviser = adviser
        adviser.advise = desk.script
        desk.environment = {
            "EXEC_RISK_POSTGRES_URL": postgres.dsn(),
            "FUND_POLICY_REQUIRED": "false",
            "NATS_URL": nats.url,
            "PAPER_VENUE_URL": venue.url,
            "SYMBOLS": ",".join(SYMBOLS),
            "ENTRY_COOLDOWN_SECONDS": "0",
            "DRAIN_DELAY_SECONDS": "0",
            "DRAIN_FILE": str(home / "drain"),
            "MAINTENANCE_FILE": str(home / "maintenance"),
            "EMERGENCY_LATCH_FILE": str(home / "latch"),
            "QUANTUM_ENV_FILE": str(home / "no.env"),
            **environment,
        }
        try:
            yield desk
        finally:
            desk.thaw_postgres()
            for replica in desk.replicas.values():
                replica.end()
