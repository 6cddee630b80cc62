"""Gathers what the playbooks ask for. What cannot be asked is None, never a guess."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress

import asyncpg
import psutil
from nats.errors import Error as NatsError
from prometheus_client.parser import text_string_to_metric_families

from services.catalog import subjects
from services.catalog.processes import AI, EXEC_RISK, SERVICES
from services.ctl.checks import seen
from services.ctl.checks.diagnosis import Books, Outage, Pace, SlowQuery, Trouble
from services.ctl.checks.quantiles import quantile
from services.ctl.commands.stats import Meter
from services.ctl.gateway_client import connected
from services.ctl.home_database import superuser
from services.ctl.operator_bus import operator_bus
from services.ctl.stored import StoredMessages
from services.ctl.supervisor.home import Home, Refused, read_json
from services.kit.bus.bus import BusUnavailable

MEASURE_SECONDS = 1.0
RECENT_HOURS = 1 / 6
"""Ten minutes, as the guide looks at errors."""
_SLOW = """
select pid, usename as role, extract(epoch from now() - query_start)::float8 as seconds,
       left(regexp_replace(query, '\\s+', ' ', 'g'), 120) as text
from pg_stat_activity
where state = 'active' and query_start < now() - interval '10 seconds' and pid <> pg_backend_pid()
  and backend_type = 'client backend'
order by seconds desc"""
_OPEN = "select count(*) from exec_risk.positions where status = 'open'"


async def outage(home: Home, service: str) -> Outage:
    """Gather playbook 1."""
    known = {s.key for s in SERVICES}
    health = await seen.services(home)
    return Outage(
        service=service,
        rows=await seen.processes(home),
        health=health if service in known else {},
        causes=seen.errors(home, hours=1, services=(service,)),
        disk=seen.disk(home),
    )


async def pace(home: Home) -> Pace:
    """Gather playbook 2; takes a second."""
    meter = Meter(home)
    before = psutil.cpu_times()
    psutil.cpu_percent()
    await asyncio.sleep(MEASURE_SECONDS)
    after = psutil.cpu_times()
    spent = sum(after) - sum(before)
    waited = getattr(after, "iowait", 0.0) - getattr(before, "iowait", 0.0)
    seconds, waiting = await _bus(home)
    return Pace(
        signal_seconds=await _signal_seconds(home),
        cpu_percent=psutil.cpu_percent(),
        memory_percent=psutil.virtual_memory().percent,
        iowait_percent=100 * waited / spent if spent > 0 else 0.0,
        processes={use.name: use.cpu_percent for use in meter.look()},
        slow=await _slow(home),
        cores=psutil.cpu_count() or 1,
        bus_seconds=seconds,
        waiting=waiting,
    )


async def trouble(home: Home) -> Trouble:
    """Gather playbook 3."""
    health = await seen.services(home)
    seconds, _waiting = await _bus(home)
    return Trouble(
        causes=seen.errors(home, hours=RECENT_HOURS),
        exchange=health.get(EXEC_RISK.key, {}),
        postgres=await _count(home, "select 1") is not None,
        bus=seconds is not None,
    )


async def books(home: Home) -> Books:
    """Gather playbook 4; asks the exchange and changes nothing."""
    differences: list[str] | None = None
    with suppress(Refused):
        async with connected(home) as client:
            told = await client.reconcile(False, f"qt-{uuid.uuid4()}")
        differences = [
            f"{row.symbol} {row.kind}: here {row.ours}, exchange {row.theirs} ({row.action})"
            for row in told.differences
        ]
    health = (await seen.services(home)).get(EXEC_RISK.key, {})
    _seconds, waiting = await _bus(home)
    return Books(
        differences=differences,
        told=int(health["open_positions"]) if "open_positions" in health else None,
        stored=await _count(home, _OPEN),
        dead_letters=await _dead_letters(home),
        waiting=waiting.get("analytics-ledger"),
    )


async def _slow(home: Home) -> Sequence[SlowQuery]:
    with suppress(Refused, asyncpg.PostgresError, OSError):
        async with superuser(home) as connection:
            return [SlowQuery(**dict(row)) for row in await connection.fetch(_SLOW)]
    return ()


async def _count(home: Home, statement: str) -> int | None:
    with suppress(Refused, asyncpg.PostgresError, OSError, TimeoutError):
        async with superuser(home) as connection:
            return int(await connection.fetchval(statement, timeout=seen.ANSWER_SECONDS))
    return None


async def _bus(home: Home) -> tuple[float | None, Mapping[str, int]]:
    """Return the time of one question, and what waits for each durable consumer."""
    with suppress(Refused, NatsError, BusUnavailable, OSError, TimeoutError):
        async with operator_bus(home) as bus:
            held = StoredMessages(bus)
            await held.state(subjects.DEADLETTER)
            began = time.monotonic()
            found = await held.state(subjects.DEADLETTER)
            seconds = time.monotonic() - began
            states = [
                found,
                *[await held.state(s) for s in subjects.STREAMS if s.name != found.name],
            ]
            return seconds, {c.name: c.waiting for state in states for c in state.consumers}
    return None, {}


async def _dead_letters(home: Home) -> int | None:
    with suppress(Refused, NatsError, BusUnavailable, OSError, TimeoutError):
        async with operator_bus(home) as bus:
            return (await StoredMessages(bus).state(subjects.DEADLETTER)).messages
    return None


async def _signal_seconds(home: Home) -> float | None:
    """Return the 95th percentile over all replicas of ai, from their own metrics."""
    totals: dict[float, float] = {}
    for instance in read_json(home.endpoints_file).get("instances", {}).values():
        if instance["service"] != AI.key:
            continue
        text = await seen.text(f"http://{instance['metrics']}/metrics")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"{AI.metric_prefix}_signal_latency_seconds_bucket":
                    bound = float(sample.labels["le"])
                    totals[bound] = totals.get(bound, 0.0) + sample.value
    return quantile(0.95, totals)
