"""`qt emergency` and `qt state`: what is asked of the gateway, and the confirmation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb
from quantum.exec_risk.v1 import exec_risk_service_pb2_grpc as rpc
from quantum.exec_risk.v1 import trading_pb2
from typer.testing import CliRunner

from services.ctl.__main__ import app
from services.ctl.supervisor.home import Home


class Recorder(rpc.ExecRiskServiceServicer):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def EmergencyStop(self, request: Any, context: Any) -> Any:
        """Say that two positions are being closed."""
        self.asked.append(request)
        return pb.EmergencyStopResponse(latched=True, positions_closing=2)

    def ResetEmergency(self, request: Any, context: Any) -> Any:
        """Refuse."""
        self.asked.append(request)
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "BTCUSDT is not closed yet")

    def Reconcile(self, request: Any, context: Any) -> Any:
        """Say that a stop is nobody's."""
        self.asked.append(request)
        row = pb.Difference(symbol="BTCUSDT", kind="unknown_order", ours="none", action="cancel it")
        return pb.ReconcileResponse(differences=[row], applied=request.apply)

    def SetTradingState(self, request: Any, context: Any) -> Any:
        """Say that it was ACTIVE."""
        self.asked.append(request)
        return pb.SetTradingStateResponse(
            previous_state=trading_pb2.TRADING_STATE_ACTIVE, state=request.state
        )


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[Recorder, Path]]:
    """A gateway that records, and the home that names it."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    # the stubs know asynchronous servers alone, and servicers that answer every method
    make: Any = Recorder
    register: Any = rpc.add_ExecRiskServiceServicer_to_server
    recorder: Recorder = make()
    register(recorder, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    home = Home(tmp_path)
    home.endpoints_file.parent.mkdir(parents=True, exist_ok=True)
    home.endpoints_file.write_text(json.dumps({"ports": {"ingress": port}}))
    yield recorder, tmp_path
    server.stop(None).wait()


def run(home: Path, *words: str, typed: str = "") -> Any:
    """Run `qt` with these words."""
    return CliRunner().invoke(app, [*words, "--home", str(home)], input=typed)


def test_nothing_is_asked_without_a_confirmation(gateway: tuple[Recorder, Path]) -> None:
    recorder, home = gateway
    for words in (("emergency", "stop"), ("emergency", "reset"), ("state", "set", "HALTED")):
        refused = run(home, *words, "--reason", "drill", typed="n\n")
        assert refused.exit_code == 1 and not recorder.asked
    agreed = run(home, "emergency", "stop", "--reason", "drill", typed="y\n")
    assert agreed.exit_code == 0 and len(recorder.asked) == 1


def test_each_command_sends_its_request_once(gateway: tuple[Recorder, Path]) -> None:
    recorder, home = gateway
    stopped = run(home, "emergency", "stop", "--reason", "drill", "--yes")
    assert "2 positions are being closed" in stopped.output
    halted = run(home, "state", "set", "REDUCING", "--reason", "drill", "--yes", "--json")
    assert json.loads(halted.output)["state"] == "TRADING_STATE_REDUCING"
    refused = run(home, "emergency", "reset", "--reason", "drill", "--yes")
    assert "BTCUSDT is not closed yet" in str(refused.exception)
    assert [type(r).__name__ for r in recorder.asked] == [
        "EmergencyStopRequest",
        "SetTradingStateRequest",
        "ResetEmergencyRequest",
    ]
    assert len({r.request_id for r in recorder.asked}) == 3


def test_an_unknown_state_is_refused_before_anything_is_asked(
    gateway: tuple[Recorder, Path],
) -> None:
    """Incident 11: an unknown value is an error, never taken for a benign one."""
    recorder, home = gateway
    assert run(home, "state", "set", "ON", "--reason", "x", "--yes").exit_code == 2
    assert not recorder.asked


def test_reconcile_shows_and_applies(gateway: tuple[Recorder, Path]) -> None:
    recorder, home = gateway
    shown = run(home, "reconcile")
    assert all(w in shown.output for w in ("unknown_order", "cancel it", "not repaired"))
    assert run(home, "reconcile", "--apply").exit_code == 1, "nobody said yes"
    applied = run(home, "reconcile", "--apply", "--yes", "--json")
    assert json.loads(applied.output)["applied"] is True
    assert [r.apply for r in recorder.asked] == [False, True]
