"""Real Envoys under load: certificates and replicas change and no call is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from functools import partial

import grpc
import pytest
import pytest_asyncio

from tests.support.eventually import eventually
from tests.support.small_mesh import (
    READ,
    WRITE,
    SmallMesh,
    all_answer,
    ask,
    call,
    small_mesh,
    under_load,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[SmallMesh]:
    async with small_mesh(replicas=2) as made:
        yield made


async def turn_leaves(mesh: SmallMesh, times: int) -> None:
    for _ in range(times):
        await asyncio.to_thread(mesh.certificates.renew_all)
        await asyncio.sleep(0.3)


async def test_leaves_are_renewed_under_load_without_a_failed_call(mesh: SmallMesh) -> None:
    answered = await under_load(mesh, lambda: turn_leaves(mesh, 5))
    assert set(answered) == {"r1", "r2"}


async def test_the_ca_changes_under_load_without_a_failed_call_and_the_old_one_is_refused(
    mesh: SmallMesh,
) -> None:
    old = mesh.authority.issue("analytics")
    replica = mesh.replicas["r1"]
    async with mesh.straight(replica, old) as channel:
        await call(channel, READ)
    await under_load(mesh, lambda: asyncio.to_thread(mesh.certificates.rotate_authority))

    async def refused() -> bool:
        async with mesh.straight(replica, old) as channel:
            try:
                await call(channel, READ)
            except grpc.aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.UNAVAILABLE
            return False

    await eventually(refused)
    async with mesh.straight(replica, mesh.authority.issue("analytics")) as channel:
        await call(channel, READ)


async def test_a_killed_service_costs_no_safe_call_also_in_flight(mesh: SmallMesh) -> None:
    answered = await under_load(mesh, mesh.replicas["r1"].kill, seconds=0.05)
    assert answered["r2"] > 0
    await mesh.replicas["r1"].begin()


async def test_replicas_come_and_go_without_a_failed_call(mesh: SmallMesh) -> None:
    async def change() -> None:
        third = await mesh.add("r3")
        mesh.tell()
        await eventually(lambda: third.begun, 15)
        mesh.tell(["r1", "r2"])
        await asyncio.sleep(0.3)
        await third.end()

    try:
        answered = await under_load(mesh, change)
    finally:
        mesh.replicas.pop("r3", None)
        mesh.tell()
    assert set(answered) == {"r1", "r2", "r3"}


async def test_calls_are_spread_evenly(mesh: SmallMesh) -> None:
    async def enough() -> None:
        before = sum(len(replica.begun) for replica in mesh.replicas.values())
        await eventually(
            lambda: sum(len(r.begun) for r in mesh.replicas.values()) > before + 1000, 60
        )

    await eventually(partial(all_answer, mesh), 30)
    # calls of equal length: else the machine decides, by which process it lets run
    answered = await under_load(mesh, enough, callers=16, seconds=0.05)
    share = answered["r1"] / answered.total()
    assert 0.45 <= share <= 0.55, answered


async def test_a_call_that_was_not_sent_is_sent_to_another_and_one_that_was_is_not_repeated(
    mesh: SmallMesh,
) -> None:
    """Money moves by such calls: a second one must come from who asked, not from a proxy."""
    lost, kept = mesh.replicas["r1"], mesh.replicas["r2"]
    # an ejection by what went before has ended then
    await eventually(partial(all_answer, mesh), 30)
    async with mesh.through() as channel:
        slow = [asyncio.create_task(call(channel, WRITE, 3)) for _ in range(12)]
        begun = set(lost.begun)
        await asyncio.sleep(1.5)
        in_flight = set(lost.begun) - begun
        assert in_flight, "some of the calls are at the replica that dies"
        await lost.kill()
        told = await asyncio.gather(*slow, return_exceptions=True)
        failed = [answer for answer in told if isinstance(answer, BaseException)]
        assert len(failed) == len(in_flight)
        assert all(
            isinstance(e, grpc.aio.AioRpcError) and e.code() is grpc.StatusCode.UNAVAILABLE
            for e in failed
        )
        assert not in_flight & set(kept.begun), "sent once, never again"
        # its sidecar still stands and answers that it could not send
        for _ in range(30):
            _, answer = await call(channel, WRITE)
            assert answer.startswith("r2 ")
    await lost.begin()


async def test_the_deadline_reaches_the_callee_cut_to_what_the_method_may_take(
    mesh: SmallMesh,
) -> None:
    async with mesh.through() as channel:
        _, told = await call(channel, READ)
        assert 4 < float(told.split()[1]) < 8.1  # clocks are read some milliseconds apart
        told = await ask(channel, READ, "long 0", timeout=600)
        assert 0 < float(told.split()[1]) < 10.1
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await ask(channel, READ, "late 3", timeout=0.5)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.drill
@pytest.mark.timeout(600)
async def test_two_minutes_of_everything_at_once(mesh: SmallMesh) -> None:
    async def storm() -> None:
        for turn in itertools.islice(itertools.count(), 12):
            await turn_leaves(mesh, 5)
            if turn % 3 == 0:
                await asyncio.to_thread(mesh.certificates.rotate_authority)
            victim = mesh.replicas["r1" if turn % 2 else "r2"]
            await victim.kill()
            await asyncio.sleep(2)
            await victim.begin()
            # outlier detection lets it in again before the other one dies
            await asyncio.sleep(5)

    answered = await under_load(mesh, storm, callers=4)
    assert set(answered) == {"r1", "r2"}
