"""Traces of the running system, asked from its own store: every edge and hop of the policy."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import aiohttp
import grpc
import psutil
import pytest
import pytest_asyncio
from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb
from quantum.exec_risk.v1 import exec_risk_service_pb2_grpc as rpc

from services.catalog.processes import process
from services.catalog.subjects import HEADER_TRACE
from services.ctl import policy
from services.ctl.traces.span import Span
from services.ctl.traces.store import SpanStore
from services.kit.observe.trace_context import TraceContext
from tests.support import leaks
from tests.support.eventually import eventually
from tests.support.stack import Stack

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

TRADES = 2
SEEN_SECONDS = 20.0
DESTINATION = "messaging.destination.name"
LEDGER = "select distinct trace_id from analytics.events where type = 'signal.generated'"
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("traces"), speed=240)
    try:
        running.up()
        await running.until_closed(TRADES, 90)
        # one call to each service, and an order, as an operator makes them
        running.qt("signals", "--all")
        running.qt("signals")
        running.qt("order", "submit", "BTCUSDT", "BUY", "--notional", "500", check=False)
        yield running
    finally:
        running.down()


def spans(stack: Stack, trace_id: str = "") -> list[Span]:
    store = SpanStore.read(stack.home.spans_file)
    try:
        ids = [trace_id] if trace_id else [each.trace_id for each in store.list(10_000)]
        return [span for each in ids for span in store.trace(each)]
    finally:
        store.close()


def pairs(found: Iterable[Span]) -> list[tuple[Span, Span]]:
    """Return each span with its parent before it."""
    by_id = {(span.trace_id, span.span_id): span for span in found}
    return [
        (by_id[key], span)
        for span in by_id.values()
        if (key := (span.trace_id, span.parent_id)) in by_id
    ]


def matches(subject: str, pattern: str) -> bool:
    return fnmatchcase(subject, pattern.replace(">", "*"))


async def test_every_hop_of_the_policy_has_a_sender_and_a_handler_below_it(stack: Stack) -> None:
    def whole() -> bool:
        seen = [
            (above.service, below.service, str(above.attributes.get(DESTINATION, "")))
            for above, below in pairs(spans(stack))
            if above.kind == "producer" and below.kind == "consumer"
        ]
        missing = [
            f"{hop.publisher} -> {hop.handler}: {hop.subject}"
            for hop in policy.load().hops
            if not any(
                sender == process(hop.publisher).name
                and handler == process(hop.handler).name
                and matches(subject, hop.subject)
                for sender, handler, subject in seen
            )
        ]
        assert not missing
        return True

    await eventually(whole, SEEN_SECONDS)


async def test_every_call_of_the_policy_passes_both_proxies(stack: Stack) -> None:
    """From who calls, through its proxy and the callee's, to the callee."""

    def whole() -> bool:
        edges = {(above.service, below.service) for above, below in pairs(spans(stack))}
        missing = [edge for call in policy.load().calls for edge in way(call) if edge not in edges]
        assert not missing, missing
        return True

    await eventually(whole, SEEN_SECONDS)


def way(call: policy.Call) -> list[tuple[str, str]]:
    callee = process(call.callee).name
    if call.caller == policy.GATEWAY:
        callers = ["qt", policy.GATEWAY]
    else:
        name = process(call.caller).name
        callers = [name, f"{name}.sidecar"]
    return list(itertools.pairwise([*callers, f"{callee}.sidecar", callee]))


async def test_the_trace_of_an_order_goes_from_the_candle_to_the_ledger(stack: Stack) -> None:
    way = [
        ("exec-risk-service", "send quantum.market.candle"),
        ("ai-service", "process quantum.market.candle"),
        ("ai-service", "inference"),
        ("ai-service", "send quantum.live.signal.generated"),
        ("exec-risk-service", "process quantum.live.signal.generated"),
        ("exec-risk-service", "decide round"),
        ("exec-risk-service", "COMMIT exec_risk"),
        ("exec-risk-service", "place order"),
        ("exec-risk-service", "POST /fapi/v1/order"),
        ("paper-venue", "POST /fapi/v1/order"),
        ("exec-risk-service", "apply fill"),
        ("exec-risk-service", "send quantum.events.fill.recorded"),
        ("analytics-os-service", "process quantum.events.fill.recorded"),
        ("analytics-os-service", "COMMIT analytics"),
    ]
    async with stack.database() as connection:
        trade = await connection.fetchrow(
            "select p.trace_id, o.client_order_id from positions p join orders o"
            " using (position_id) where p.status = 'closed' and o.purpose = 'ENTRY'"
            " and p.signal_id <> '' order by p.closed_at limit 1"
        )
    assert trade is not None
    await eventually(
        lambda: not set(way) - {(s.service, s.name) for s in spans(stack, trade["trace_id"])},
        SEEN_SECONDS,
    )
    found = spans(stack, trade["trace_id"])
    roots = [span for span in found if not span.parent_id]
    assert [span.name for span in roots] == ["send quantum.market.candle"]
    assert len(pairs(found)) == len(found) - 1, "every other span has its parent in the trace"
    assert all(below.start >= roots[0].start for below in found)
    shown = stack.json("trace", "--order", trade["client_order_id"])
    assert shown["trace_id"] == trade["trace_id"]
    assert "POST /fapi/v1/order" in stack.qt("trace", trade["trace_id"][:12])


async def test_a_candle_that_makes_no_signal_leaves_no_span(stack: Stack) -> None:
    def candles() -> set[str]:
        return {s.trace_id for s in spans(stack) if s.name == "send quantum.market.candle"}

    async with stack.database() as connection:
        answered = await connection.fetchval("select sum(predictions) from prediction_counts")
    traced = candles()
    # the ledger may be behind the spans, never for long
    end = time.monotonic() + SEEN_SECONDS
    while True:
        async with stack.database() as connection:
            signals = {row["trace_id"] for row in await connection.fetch(LEDGER)}
        if traced <= signals:
            break
        assert time.monotonic() < end, traced - signals
        await asyncio.sleep(0.2)
    assert 0 < len(traced) < answered


async def test_an_operators_order_is_one_trace_from_the_command_to_the_exchange(
    stack: Stack,
) -> None:
    def roots() -> list[Span]:
        return [s for s in spans(stack) if s.name == "qt order submit"]

    await eventually(lambda: bool(roots()), SEEN_SECONDS)
    trace_id = roots()[0].trace_id
    wanted = {("gateway", "exec-risk-service.sidecar"), ("exec-risk-service", "exec-risk-service")}
    await eventually(
        lambda: wanted <= {(a.service, b.service) for a, b in pairs(spans(stack, trace_id))},
        SEEN_SECONDS,
    )
    names = {span.name for span in spans(stack, trace_id)}
    assert {"ask leader", "submit execution", "COMMIT exec_risk"} <= names


async def test_a_call_that_fails_is_written_whatever_its_flag_says(stack: Stack) -> None:
    good, bad = (TraceContext.new(sampled=False) for _ in range(2))
    address = stack.endpoints["instances"]["exec_risk"]["grpc"]
    async with grpc.aio.insecure_channel(address) as channel:
        ask = rpc.ExecRiskServiceStub(channel).ListPositions
        await ask(pb.ListPositionsRequest(), timeout=5, metadata=[(HEADER_TRACE, good.header())])
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(
                pb.ListPositionsRequest(page_token="nonsense"),
                timeout=5,
                metadata=[(HEADER_TRACE, bad.header())],
            )
    await eventually(lambda: bool(spans(stack, bad.trace_id)), SEEN_SECONDS)
    (span,) = spans(stack, bad.trace_id)
    assert (span.parent_id, span.failed) == (bad.span_id, True)
    assert span.attributes["rpc.grpc.status_code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert spans(stack, good.trace_id) == []
    assert bad.trace_id in {each["trace_id"] for each in stack.json("trace", "--failed")}


async def test_logs_and_metrics_lead_to_the_trace(stack: Stack) -> None:
    logged = set()
    for log in stack.home.logs.glob("ai-?.log"):
        for line in log.read_text().splitlines():
            if '"signal_generated"' in line:
                logged.add(json.loads(line)["trace_id"])
    assert logged & {span.trace_id for span in spans(stack)}
    url = f"http://{stack.endpoints['instances']['exec_risk']['metrics']}/metrics"
    async with (
        aiohttp.ClientSession(headers=OPENMETRICS) as session,
        session.get(url) as answer,
    ):
        text = await answer.text()
    lines = [
        x for x in text.splitlines() if "order_request_seconds_bucket" in x and "trace_id" in x
    ]
    assert lines, "no exemplar"


async def test_what_a_run_leaves_behind_holds_no_secret(stack: Stack) -> None:
    """Logs, traces, ledger, bus, metrics, process list; each is seen to be looked at."""
    await stack.until_closed(1, 120)
    secrets = leaks.secrets_of(stack.home)
    assert {"secrets.json api_secret", "identities/nats/exec_risk.nk", "token"} <= secrets.keys()
    assert sum(name.startswith("run/mesh/certificates/") for name in secrets) >= 3
    own = leaks.homes_of(stack.home, secrets)
    assert [file for file in own if file.stat().st_mode & 0o077] == []

    told = await _left_behind(stack)
    async with stack.database() as connection:
        known = await connection.fetchrow("select signal_id, symbol from positions limit 1")
    wanted = {**secrets, "signal": known["signal_id"].encode(), "symbol": known["symbol"].encode()}
    found = {place: set(leaks.found_in(content, wanted)) for place, content in told.items()}
    for file, names in leaks.found_below(_files(stack, own), wanted).items():
        found[file] = set(names)
    assert {p: names & secrets.keys() for p, names in found.items() if names & secrets.keys()} == {}
    logs = [p for p, names in found.items() if p.endswith(".log") and "signal" in names]
    assert {"ai-1.log", "ai-2.log", "exec_risk.log"} & set(logs)
    assert "signal" in found["ledger"]
    assert any("symbol" in names for p, names in found.items() if p.startswith("spans.sqlite"))
    assert any("symbol" in names for p, names in found.items() if p.endswith(".blk"))


def _files(stack: Stack, own: set[Path]) -> list[Path]:
    """Where processes write: logs, spans, the bus' streams, the venue's journal, what is told."""
    home = stack.home
    folders = [home.logs, home.run, *(home.root / name for name in ("traces", "nats", "venue"))]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return [file for file in (*files, *home.root.glob("*.json*")) if file not in own]


async def _left_behind(stack: Stack) -> dict[str, bytes]:
    """Return what is read by asking: every row of the services' tables, metrics, process list."""
    told = {}
    async with stack.database() as connection:
        tables = await connection.fetch(
            "select relnamespace::regnamespace::text as schema, relname as name from pg_class"
            " where relkind = 'r' and relnamespace::regnamespace::text = any($1)",
            ["exec_risk", "analytics"],
        )
        rows = io.BytesIO()
        for table in tables:
            await connection.copy_from_table(
                table["name"], schema_name=table["schema"], output=rows
            )
        told["ledger"] = rows.getvalue()
    for name, instance in stack.endpoints["instances"].items():
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{instance['metrics']}/metrics") as answer,
        ):
            told[f"metrics of {name}"] = await answer.read()
    lines = [line for pid in stack.pids().values() for line in _command_lines(pid)]
    assert len(lines) >= len(stack.pids())
    told["process list"] = b"\n".join(lines)
    return told


def _command_lines(pid: int) -> list[bytes]:
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return [" ".join(one.cmdline()).encode() for one in family]
