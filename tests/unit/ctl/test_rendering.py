"""Endpoint files, descriptors, logs and what terminals show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.api import annotations_pb2
from quantum.exec_risk.v1.trading_pb2 import (
    EXIT_REASON_STOP_LOSS,
    POSITION_SIDE_SHORT,
    SIDE_BUY,
    Order,
    Position,
)

from services.catalog.processes import AI, SERVICES
from services.ctl.gateway_client import as_json, word
from services.ctl.render import descriptor, endpoints
from services.ctl.servers.command import last_line
from services.ctl.supervisor.rotation import rotate
from services.ctl.terminal import tables


def test_an_endpoint_file_names_the_instances_of_its_service(tmp_path: Path) -> None:
    instances = {
        "ai-1": {"service": "ai", "grpc": "unix:/s/ai-1", "mesh": "127.0.0.1:1001"},
        "ai-2": {"service": "ai", "grpc": "unix:/s/ai-2", "mesh": "127.0.0.1:1002"},
        "venue": {"service": "venue", "grpc": "127.0.0.1:1003", "mesh": "127.0.0.1:1003"},
    }
    endpoints.render(tmp_path, {"instances": instances})
    held = json.loads((tmp_path / "eds" / "ai.json").read_text())["resources"][0]
    ports = [
        e["endpoint"]["address"]["socket_address"]["port_value"]
        for e in held["endpoints"][0]["lb_endpoints"]
    ]
    assert held["cluster_name"] == "ai"
    assert ports == [1001, 1002]
    assert {f.name for f in (tmp_path / "eds").iterdir()} == {f"{s.key}.json" for s in SERVICES}


def test_the_health_descriptor_has_the_two_short_paths_and_no_other_method() -> None:
    found = {
        f"{file.package}.{service.name}/{method.name}": method.options.Extensions[
            annotations_pb2.http
        ].get
        for file in descriptor.short_health().file
        for service in file.service
        for method in service.method
    }
    assert found == {
        f"{service.grpc_service}/{method}": path
        for service in SERVICES
        for method, path in (("GetHealth", "/health"), ("GetReadiness", "/ready"))
    }


def test_descriptors_hold_each_file_after_what_it_imports() -> None:
    seen: set[str] = set()
    for file in descriptor.contracts().file:
        assert set(file.dependency) <= seen, file.name
        seen.add(file.name)
    assert "google/rpc/error_details.proto" in seen, "the details of errors are printed by it"


def test_methods_are_reads_writes_or_streams() -> None:
    kinds = descriptor.kinds(AI.grpc_service)
    assert kinds["GetHealth"] == "read" and kinds["StreamSignals"] == "stream"
    assert descriptor.kinds("quantum.exec_risk.v1.ExecRiskService")["ClosePosition"] == "write"
    with pytest.raises(KeyError, match=r"a\.b"):
        descriptor.kinds("a.b")


def test_a_grown_log_is_copied_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "ai-1.log"
    with log.open("ab", buffering=0) as writer:
        for line in (b"first\n", b"second\n", b"third\n", b"fourth\n", b"fifth\n"):
            writer.write(line)
            assert rotate(tmp_path, largest=4) == [log]
        writer.write(b"now\n")
    kept = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert kept == {
        "ai-1.log": "now\n",
        "ai-1.log.1": "fifth\n",
        "ai-1.log.2": "fourth\n",
        "ai-1.log.3": "third\n",
    }


def test_the_last_line_of_a_log_is_what_was_said_last(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert last_line(log) == ""
    log.write_text("first\nsetting FOO: wrong\n\n")
    assert last_line(log) == "setting FOO: wrong"


def test_enums_are_shown_as_words() -> None:
    assert word(Order(side=SIDE_BUY), "side") == "BUY"
    assert word(Position(side=POSITION_SIDE_SHORT), "side") == "SHORT"
    assert word(Position(exit_reason=EXIT_REASON_STOP_LOSS), "exit_reason") == "STOP_LOSS"
    with pytest.raises(TypeError, match="symbol is not an enum"):
        word(Order(), "symbol")


def test_net_profit_is_gross_less_commission_plus_funding() -> None:
    closed = Position(realized_pnl="10.5", commission="0.25", funding="-0.05")
    assert tables.net(closed) == "10.20"
    assert tables.net(Position()) == "0"


def test_json_has_the_protos_names_and_its_defaults() -> None:
    assert as_json(Position(entry_price="1.5"))["entry_price"] == "1.5"
    assert as_json(Position())["in_sample"] is False
