"""What the supervisor does on request of analytics, and what it tells of its own doing."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from quantum.analytics.v1 import alerts_pb2 as pb
from quantum.ops.v1 import operations_service_pb2 as ops

from services.catalog import subjects
from services.catalog.events import RECOVERY_ASKED
from services.ctl.supervisor.home import Home
from services.ctl.supervisor.supervisor import Supervisor
from services.kit.bus.bus import Bus, Message
from tests.support.eventually import eventually
from tests.support.stand_in_system import running

pytestmark = pytest.mark.timeout(120)


def request(key: str, instance: str, action: str = "RESTART", age: float = 0.0) -> pb.RecoveryAsked:
    """What analytics would ask for."""
    asked = pb.RecoveryAsked(
        recovery_id=key,
        action=action,
        service_name="ai-service",
        instance=instance,
        reason="hangs",
    )
    asked.time.FromDatetime(datetime.now(UTC) - timedelta(seconds=age))
    return asked


async def ask(bus: Bus, asked: pb.RecoveryAsked, copy: int = 0) -> None:
    await bus.publish(
        subjects.recovery_asked(asked.service_name),
        asked.SerializeToString(),
        message_id=f"{asked.recovery_id}-{copy}",
        headers={subjects.HEADER_TYPE: RECOVERY_ASKED},
    )


def by_itself(told: dict[str, ops.RecoveryDone], instance: str) -> ops.RecoveryDone | None:
    return next((t for t in told.values() if t.instance == instance and t.done), None)


def restarts(supervisor: Supervisor) -> dict[str, int]:
    return {row.name: row.restarts for row in supervisor.rows() if row.restarts}


async def test_a_request_is_carried_out_once_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FOLDER", str(tmp_path))
    home = Home(tmp_path / "home")
    told: dict[str, ops.RecoveryDone] = {}

    def hear(message: Message) -> None:
        done = ops.RecoveryDone.FromString(message.data)
        told[done.recovery_id] = done

    async with running(home) as supervisor:
        bus = await Bus.connect(supervisor.topology.nats.url, "test", supervisor.topology.operator)
        try:
            await bus.follow(subjects.LIVE.name, subjects.ALL_RECOVERIES_DONE, hear)
            asked = request("one", "ai-1")
            await ask(bus, asked)
            await ask(bus, asked, copy=1)
            await eventually(lambda: "one" in told, 40)
            assert (told["one"].done, told["one"].asked, told["one"].instance) == (
                True,
                True,
                "ai-1",
            )
            assert restarts(supervisor) == {"ai-1": 1}

            await ask(bus, request("old", "ai-2", age=60))
            await eventually(lambda: "old" in told, 10)
            assert not told["old"].done and "60 s old" in told["old"].reason

            await ask(bus, request("drained", "ai-2", "DRAIN"))
            await eventually(lambda: "drained" in told, 10)
            assert not told["drained"].done, "a stand-in cannot be drained, and that is told"

            await ask(bus, request("nobody", "ai-7"))
            os.kill(next(r.pid for r in supervisor.rows() if r.name == "ai-2"), signal.SIGKILL)
            await eventually(
                lambda: any(t.instance == "ai-2" and t.done for t in told.values()), 40
            )
            own = next(t for t in told.values() if t.instance == "ai-2" and t.done)
            assert (own.asked, own.reason) == (False, "ai-2 was killed by SIGKILL")
            assert "nobody" not in told, "it is another supervisor's"
            assert restarts(supervisor) == {"ai-1": 1, "ai-2": 1}

            (tmp_path / "ai-2.hang").touch()
            await eventually(lambda: restarts(supervisor).get("ai-2") == 2, 40)
            await ask(bus, request("starting", "ai-2"))
            await eventually(lambda: "starting" in told, 10)
            assert not told["starting"].done, "what is only just starting is not ended again"
            (tmp_path / "ai-2.hang").unlink()
        finally:
            await bus.close()
