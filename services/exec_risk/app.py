"""Wiring of exec_risk: the only place where its parts meet."""

from __future__ import annotations

from functools import partial

from quantum.exec_risk.v1.exec_risk_service_pb2_grpc import (
    add_ExecRiskServiceServicer_to_server,
)

from services.catalog import subjects
from services.exec_risk import consumers
from services.exec_risk.core.effects import Effect
from services.exec_risk.core.inputs import PredictionsArrived
from services.exec_risk.core.policy import Gates, Policy
from services.exec_risk.counters import Counters
from services.exec_risk.database.commit_statement import ANSWERS_CHANNEL
from services.exec_risk.database.purge import purge_requests
from services.exec_risk.exchange.account import ExchangeMisconfigured
from services.exec_risk.exchange.binance import BinanceExchange
from services.exec_risk.exchange.meter import PrometheusMeter
from services.exec_risk.exchange.request_spans import RequestSpans
from services.exec_risk.exchange.requests import ExchangeRefused
from services.exec_risk.faults import fault_points
from services.exec_risk.faults.pointed import PointedExchange, PointedStore
from services.exec_risk.market.bus_candles import BusCandles
from services.exec_risk.market.gap_filler import GapFiller
from services.exec_risk.servicer import ExecRiskServicer
from services.exec_risk.serving.leader_views import LeaderViews
from services.exec_risk.serving.updates import Updates
from services.exec_risk.settings import Settings
from services.exec_risk.store import PostgresStore
from services.exec_risk.term.fund_reader import FundReader
from services.exec_risk.term.leader import Leader
from services.exec_risk.term.rotation import Rotation
from services.exec_risk.term.term import Term
from services.exec_risk.tracing.step_spans import StepSpans
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease
from services.kit.postgres.migrate import missing
from services.kit.postgres.notify import Notifications
from services.kit.postgres.outbox import OutboxRelay
from services.kit.process import Process
from services.kit.server import Servicers

log = get_logger(__name__)

SCHEMA = "exec_risk"
MIGRATIONS = "services.exec_risk.migrations"
_WATCH_SECONDS = 0.5
_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.5, 30.0


async def build(process: Process, settings: Settings) -> Servicers:
    """Connect everything and start listening; the lease is waited for in the background."""
    clock, policy = process.clock, settings.policy()
    where = settings.database
    open_migrations = await missing(where, SCHEMA, MIGRATIONS)
    if open_migrations:
        raise RuntimeError(f"run `exec_risk migrate` first; open: {', '.join(open_migrations)}")
    connect = partial(
        Database.connect,
        where,
        schema=SCHEMA,
        application_name=process.instance,
        # below the lease's life, so that a frozen leader's locks cannot hold up a take-over
        transaction_timeout_ms=int(settings.lease_seconds * 750),
        command_timeout=settings.lease_seconds,
    )
    # readers that pile up before a server that hangs must not keep the leader from writing
    truth, database = await connect(max_size=4), await connect(max_size=6)
    process.on_stop(truth.close)
    process.on_stop(database.close)
    bus = await process.connect_bus()
    spans = StepSpans(process.telemetry, settings.account)
    seconds = process.metrics.histogram(
        "order_request_seconds", "From the admission of an order or a cancel to its outcome."
    )
    exchange = BinanceExchange(
        settings.exchange(),
        clock,
        meter=PrometheusMeter(process.metrics),
        spans=RequestSpans(process.telemetry, seconds),
    )
    process.on_stop(exchange.close)
    lease = Lease(
        truth,
        f"account.{settings.account}",
        process.instance,
        clock,
        ttl=settings.lease_seconds,
        outlasts=True,
    )
    process.on_stop(lease.release)
    counters = Counters(process.metrics)
    relay = OutboxRelay(database, bus, subjects.EVENTS.name, telemetry=process.telemetry)
    store = PostgresStore(
        truth,
        lease,
        settings.account,
        settings.exchange_venue,
        on_facts=relay.hand,
        spans=spans,
    )

    notifications = Notifications(
        where, ANSWERS_CHANNEL, clock, application_name=f"{process.instance} notifications"
    )
    asked = notifications.bell(settings.account)

    reached = fault_points.made(settings.exec_risk_kill_at)

    def on_effects(effects: list[Effect]) -> None:
        relay.send()
        counters.count(effects)

    def new_term() -> Term:
        return Term(
            policy=policy,
            exchange=PointedExchange(exchange, reached) if settings.exec_risk_kill_at else exchange,
            store=PointedStore(store, reached) if settings.exec_risk_kill_at else store,
            candles=BusCandles(bus, on_published=spans.published),
            clock=clock,
            limits=settings.term(),
            gates=lambda: Gates(
                process.draining,
                process.maintenance,
                policy_away=policy.fund_required and fund.away,
            ),
            told=fund.told,
            on_effects=on_effects,
            asked=asked.wait,
            traces=spans,
        )

    leader = Leader(exchange=exchange, lease=lease, new_term=new_term)
    # the next leader begins while this replica still ends the calls that it serves
    process.on_drain(leader.retire)
    process.on_drain(lease.release)
    fund = FundReader(
        account=settings.account,
        clock=clock,
        put=leader.put,
        on_unreadable=lambda _: counters.error(),
        patience=settings.policy_patience_seconds,
    )

    def on_batch(batch: PredictionsArrived) -> None:
        spans.arrived(batch)
        leader.put(batch)

    await consumers.follow(
        bus,
        settings.account,
        on_batch=on_batch,
        on_observed=leader.round_observed,
        on_unreadable=lambda _: counters.error(),
    )
    await fund.start(bus)
    filler = GapFiller(
        exchange=exchange,
        sink=BusCandles(bus),
        venue=settings.exchange_venue,
        timeframe=settings.timeframe,
        leading=lambda: leader.leading,
        metrics=process.metrics,
    )
    await filler.start(bus)
    process.spawn("gaps", filler.run())
    updates = Updates(settings.account)
    await updates.start(process, bus)
    process.spawn("notifications", notifications.run())
    process.spawn("exchange", _exchange(process, exchange, leader))
    process.spawn("outbox", relay.run())
    process.spawn("purge", purge_requests(database, clock))
    process.spawn("watch", _watch(process, leader, database, exchange, relay, fund, policy))
    views = LeaderViews(database, settings.account, clock, notifications, leader, spans)
    servicer = ExecRiskServicer(
        process=process,
        views=views,
        policy=policy,
        counters=counters,
        updates=updates,
        leading=lambda: leader.leading,
    )
    return [(add_ExecRiskServiceServicer_to_server, servicer)]


async def _exchange(process: Process, exchange: BinanceExchange, leader: Leader) -> None:
    """Open the exchange, waiting for it for as long as it takes, then listen and lead."""
    wait = _RETRY_SECONDS
    while True:
        try:
            await exchange.start()
            break
        except Exception as error:  # noqa: BLE001 - not reachable yet: readiness says so
            log.warning("exchange_not_started", error=f"{type(error).__name__}: {error}")
            process.components.set("exchange", False, str(error))
            refused = isinstance(error, ExchangeRefused | ExchangeMisconfigured)
            # a refused key is not cured by asking fast, and asking fast ends in a ban
            wait = min(wait * 2, _LONGEST_RETRY_SECONDS) if refused else _RETRY_SECONDS
            await process.clock.sleep(wait)
    process.spawn("leader", leader.run())
    await leader.listen()


async def _watch(
    process: Process,
    leader: Leader,
    database: Database,
    exchange: BinanceExchange,
    relay: OutboxRelay,
    fund: FundReader,
    policy: Policy,
) -> None:
    """Keep the components and the progress true."""
    rotation = Rotation()
    while True:
        components, term = process.components, leader.term
        components.set("postgres", await database.answers(), "does not answer")
        components.set("exchange", exchange.connected, exchange.down_reason)
        stays = rotation.stays(term, process.clock.monotonic())
        components.set("account", stays, "positions are not all protected yet")
        fault = "" if term is None else term.fault
        if fault:
            process.degraded["core"] = fault
        else:
            process.degraded.pop("core", None)
        if policy.fund_required and (fund.away or not fund.version):
            process.degraded["policy"] = "the fund's policy cannot be read: no entries"
        else:
            process.degraded.pop("policy", None)
        process.progress["policy_version"] = float(fund.version)
        process.progress["leader"] = float(leader.leading)
        process.progress["outbox_open"] = float(relay.open)
        if term is not None and term.ready:
            book = term.trader.book
            process.progress["market_time_ms"] = float(book.time)
            process.progress["last_round_ms"] = float(book.last_round)
            process.progress["open_positions"] = float(len(book.positions))
        await process.clock.sleep(_WATCH_SECONDS)
