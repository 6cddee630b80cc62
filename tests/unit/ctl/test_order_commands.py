"""`qt order`: what is asked of the gateway, and how a refusal is told."""

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

ORDER = trading_pb2.Order(
    client_order_id="qte0-1",
    symbol="BTCUSDT",
    side=trading_pb2.SIDE_BUY,
    type=trading_pb2.ORDER_TYPE_LIMIT,
    purpose=trading_pb2.ORDER_PURPOSE_ENTRY,
    state=trading_pb2.ORDER_STATE_ACCEPTED,
    quantity="0.5",
)


class Recorder(rpc.ExecRiskServiceServicer):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def SubmitExecution(self, request: Any, context: Any) -> Any:
        """Take everything but SELL."""
        self.asked.append(request)
        if request.side == trading_pb2.SIDE_SELL:
            return pb.SubmitExecutionResponse(rule="trading_state", reason="it is HALTED")
        execution = trading_pb2.Execution(
            execution_id="exe-1",
            symbol=request.symbol,
            side=request.side,
            strategy=request.strategy,
            quantity="0.5",
            slices=10,
        )
        return pb.SubmitExecutionResponse(approved=True, rule="approved", execution=execution)

    def CancelOrder(self, request: Any, context: Any) -> Any:
        """Show the order."""
        self.asked.append(request)
        return pb.CancelOrderResponse(order=ORDER)

    def ListOrders(self, request: Any, context: Any) -> Any:
        """There is one."""
        self.asked.append(request)
        return pb.ListOrdersResponse(orders=[ORDER])


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


def run(home: Path, *words: str) -> Any:
    """Run `qt order` with these words."""
    return CliRunner().invoke(app, ["order", *words, "--home", str(home)])


def test_submit_sends_exactly_what_was_typed(gateway: tuple[Recorder, Path]) -> None:
    """Incident 37: the unit of the size is named, and goes as it was given."""
    recorder, home = gateway
    words = ("--notional", "500", "--strategy", "twap", "--duration", "600", "--leverage", "3")
    shown = run(home, "submit", "btcusdt", "buy", *words)
    assert shown.exit_code == 0 and "exe-1" in shown.output
    (request,) = recorder.asked
    assert (request.symbol, request.side) == ("BTCUSDT", trading_pb2.SIDE_BUY)
    assert (request.WhichOneof("size"), request.notional_usd) == ("notional_usd", "500")
    assert request.strategy == trading_pb2.EXECUTION_STRATEGY_TWAP
    assert (request.duration_seconds, request.leverage) == (600, 3)


def test_a_refusal_names_its_rule(gateway: tuple[Recorder, Path]) -> None:
    _, home = gateway
    refused = run(home, "submit", "BTCUSDT", "SELL", "--quantity", "1")
    assert "refused by the rule trading_state: it is HALTED" in str(refused.exception)


@pytest.mark.parametrize("words", [(), ("--quantity", "1", "--margin", "5")])
def test_exactly_one_size_is_needed(gateway: tuple[Recorder, Path], words: tuple[str, ...]) -> None:
    recorder, home = gateway
    assert run(home, "submit", "BTCUSDT", "BUY", *words).exit_code != 0
    assert not recorder.asked


def test_cancel_and_list(gateway: tuple[Recorder, Path]) -> None:
    recorder, home = gateway
    assert run(home, "cancel", "qte0-1", "--json").exit_code == 0
    listed = run(home, "list", "--open", "--symbol", "btcusdt", "--json")
    assert json.loads(listed.output)[0]["client_order_id"] == "qte0-1"
    cancel, orders = recorder.asked
    assert cancel.client_order_id == "qte0-1" and cancel.request_id
    assert (orders.open_only, orders.symbol) == (True, "BTCUSDT")
