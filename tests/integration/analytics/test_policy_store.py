"""The fund's policy: rows in PostgreSQL, copies in the key-value store, readers within a second."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from quantum.analytics.v1 import analytics_service_pb2 as pb
from quantum.analytics.v1 import analytics_service_pb2_grpc as rpc
from quantum.analytics.v1 import policy_pb2

from services.analytics.codec import to_event
from services.analytics.core.fund.versions import values_of
from services.analytics.policy.copy import PolicyCopy
from services.analytics.policy.store import PolicyStore
from services.catalog import subjects
from services.catalog.events import POLICY_UPDATED, SYSTEM_MODE_CHANGED
from services.kit.bus.bus import Bus, Message
from services.kit.bus.followed_key import FollowedKey
from services.kit.clock import SystemClock
from services.kit.errors import AlreadyExists, InvalidArgument, NotFound
from services.kit.postgres.db import Database
from services.trade.fund_policy import FundMode, FundPolicy, SystemMode
from services.trade.policy_book import PolicyBook
from services.trade.policy_codec import policy_from_pb
from tests.integration.analytics.conftest import ready, running, settings_for
from tests.support.eventually import eventually


def reads(book: PolicyBook) -> FollowedKey:
    """A reader that has not started."""
    return FollowedKey(
        stream=subjects.POLICY.name, key=subjects.FUND_POLICY, clock=SystemClock(), patience=60
    )


async def start(reader: FollowedKey, bus: Bus, book: PolicyBook) -> None:
    """Read every version into the book."""

    def handle(message: Message) -> None:
        book.learn(policy_from_pb(policy_pb2.FundPolicy.FromString(message.data)))

    await reader.start(bus, handle)


async def test_a_version_is_a_row_a_fact_and_a_copy(database: Database, bus: Bus) -> None:
    store = PolicyStore(database, FundPolicy(max_positions=8), clock=SystemClock())
    await store.begin()
    await store.begin()
    first = await store.version()
    assert (first.policy.version, first.policy.max_positions) == (1, 8)
    safe = await store.update({"fund_mode": FundMode.SAFE}, by="HFOS", reasons=("drawdown",))
    assert safe.policy.version == 2 and safe.policy.max_positions == 5
    assert {"fund_mode", "signal_share", "size_factor"} <= set(safe.changed)
    assert safe.policy.effective_from > first.policy.effective_from
    back = await store.update({"fund_mode": FundMode.NORMAL}, by="HFOS", reasons=("over",))
    assert values_of(back.policy) == values_of(first.policy)
    defensive = {"system_mode": SystemMode.DEFENSIVE}
    await store.update(defensive, by="operator", reasons=("storm",), request_id="r1")
    again = await store.update(defensive, by="operator", reasons=("storm",), request_id="r1")
    assert again.policy.version == 4
    with pytest.raises(AlreadyExists):
        await store.update({"max_positions": 3}, by="x", reasons=("y",), request_id="r1")
    with pytest.raises(InvalidArgument) as caught:
        await store.update({"size_factor": Decimal(3)}, by="x", reasons=("y",))
    assert [v.field for v in caught.value.violations] == ["size_factor"]
    rolled = await store.update({}, by="operator", reasons=("back",), rollback_to=2)
    assert values_of(rolled.policy) == values_of(safe.policy) and rolled.policy.version == 5
    with pytest.raises(NotFound):
        await store.update({}, by="operator", reasons=("back",), rollback_to=77)
    for row in await database.pool.fetch("select subject, data, headers from outbox"):
        headers = {**json.loads(row["headers"]), subjects.HEADER_MESSAGE_ID: "m"}
        assert to_event(Message(row["subject"], row["data"], headers, 1)), "the ledger takes it"
    types = await database.pool.fetch("select headers->>'ce-type' as t from outbox order by id")
    assert [r["t"] for r in types].count(POLICY_UPDATED) == 5
    assert [r["t"] for r in types].count(SYSTEM_MODE_CHANGED) == 2


async def test_what_was_known_before_is_in_the_fact(database: Database) -> None:
    """Incident 73: policy.updated carries the version before, not the new one twice."""
    store = PolicyStore(database, FundPolicy(), clock=SystemClock())
    await store.begin()
    await store.update({"fund_mode": FundMode.CRITICAL}, by="HFOS", reasons=("r",))
    data = await database.pool.fetchval("select data from outbox order by id desc limit 1")
    told = policy_pb2.PolicyUpdated.FromString(data)
    assert told.previous.fund_mode == policy_pb2.FUND_MODE_NORMAL
    assert told.current.fund_mode == policy_pb2.FUND_MODE_CRITICAL


async def test_versions_of_many_at_once_have_no_gap_and_reach_readers(
    database: Database, bus: Bus
) -> None:
    store = PolicyStore(database, FundPolicy(), clock=SystemClock())
    await store.begin()
    copies = [PolicyCopy(store, bus, asyncio.Event()) for _ in range(2)]
    book = PolicyBook()
    reader = reads(book)
    assert not reader.readable
    await start(reader, bus, book)
    tasks = [asyncio.create_task(copy.run()) for copy in copies]
    try:
        await asyncio.gather(
            *(store.update({"max_positions": n}, by="t", reasons=("t",)) for n in range(20, 30))
        )
        newest = (await store.version()).policy
        assert newest.version == 11
        await eventually(lambda: book.newest == 11, deadline=15)
        assert reader.readable and book.versions[-1] == newest
        late = PolicyBook()
        await start(reads(late), bus, late)
        assert late == book
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_lost_copy_is_repaired_and_a_newer_is_never_overwritten(
    database: Database, bus: Bus
) -> None:
    store = PolicyStore(database, FundPolicy(), clock=SystemClock())
    await store.begin()
    await store.update({"max_positions": 4}, by="t", reasons=("t",))
    copy = PolicyCopy(store, bus, asyncio.Event())
    assert await copy.repair() == 2
    assert await copy.repair() == 0
    await bus.client.jetstream().purge_stream(subjects.POLICY.name)
    assert await copy.repair() == 2
    # the row of version 2 is gone, as after a restore from an old backup: its copy stays
    await database.pool.execute("delete from policy_versions where version = 2")
    assert await copy.repair() == 0
    last = await bus.last(subjects.POLICY.name, subjects.FUND_POLICY)
    assert last is not None and policy_pb2.FundPolicy.FromString(last.data).version == 2


async def test_the_service_writes_version_one_and_takes_changes(
    ledger_dsn: str, nats_url: str, bus: Bus, free_port: int
) -> None:
    settings = settings_for(ledger_dsn, nats_url, free_port, max_positions=7, pba_enabled=True)
    async with running(settings) as process:
        await ready(process)
        book = PolicyBook()
        await start(reads(book), bus, book)
        await eventually(lambda: book.newest == 1)
        async with grpc.aio.insecure_channel(settings.grpc_address) as channel:
            stub = rpc.AnalyticsServiceStub(channel)
            request = pb.UpdatePolicyRequest(
                change=policy_pb2.PolicyChange(
                    signal_share=0.0, blocked_symbols=policy_pb2.SymbolSet(symbols=["BTCUSDT"])
                ),
                reason="quiet",
                request_id="r-1",
            )
            person = (("x-token-subject", "ops@example.com"),)
            told = await stub.UpdatePolicy(request, timeout=5, metadata=person)
            assert (told.version.policy.version, told.version.updated_by) == (2, person[0][1])
            assert set(told.version.changed_fields) == {"signal_share", "blocked_symbols"}
            assert told.version.policy.max_positions == 7
            again = await stub.UpdatePolicy(request, timeout=5, metadata=person)
            assert again.version == told.version
            await eventually(lambda: book.newest == 2, deadline=15)
            found = book.at(told.version.policy.effective_from.ToMilliseconds())
            assert found is not None and found.blocked_symbols == {"BTCUSDT"}
            shown = await stub.GetPolicy(pb.GetPolicyRequest(history_size=10), timeout=5)
            assert [v.policy.version for v in shown.history] == [2, 1]
            for bad, field in (
                ({"size_factor": "x"}, "change.size_factor"),
                ({"max_leverage": 900}, "max_leverage"),
                ({}, "change"),
            ):
                wrong = pb.UpdatePolicyRequest(
                    change=policy_pb2.PolicyChange(**bad), reason="r", request_id=f"r-{field}"
                )
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.UpdatePolicy(wrong, timeout=5)
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert field in violated(caught.value)
            asked = pb.TriggerRebalanceRequest(reason="look", request_id="b-1")
            assert (await stub.TriggerRebalance(asked, timeout=5)).HasField("after")


def violated(error: grpc.aio.AioRpcError) -> list[str]:
    """Return the fields that an error names."""
    status = rpc_status.from_call(cast("Any", error))
    found = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(found):
            return [v.field for v in found.field_violations]
    return []
