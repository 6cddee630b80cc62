"""The contracts: linted, generated fresh, unbroken, and each event type with one message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from services.catalog import events, processes, subjects

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "protos" / "gen"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.ctl.codegen", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT)
    fresh, kept = files_of(tmp_path), files_of(GENERATED)
    assert fresh.keys() == kept.keys(), "run make gen"
    assert [name for name in fresh if fresh[name] != kept[name]] == [], "run make gen"


def test_every_catalogued_service_is_in_the_contracts() -> None:
    descriptor = descriptor_pb2.FileDescriptorSet.FromString(
        (GENERATED / "descriptor.binpb").read_bytes()
    )
    found = {f"{f.package}.{s.name}" for f in descriptor.file for s in f.service}
    assert {p.grpc_service for p in processes.PROCESSES} <= found


def test_every_event_type_has_one_message() -> None:
    assert len(events.TYPES) == len(events.MESSAGES)


@pytest.mark.parametrize("stream", subjects.STREAMS, ids=lambda s: s.name)
def test_every_stream_is_bounded(stream: subjects.Stream) -> None:
    """Incident 65: nothing on the bus grows without a bound."""
    assert stream.max_bytes > 0
    assert stream.max_age_seconds > 0 or stream.max_messages_per_subject > 0


def test_the_documentation_names_every_event_and_its_message() -> None:
    text = (ROOT / "docs" / "events.md").read_text()
    for event_type, message in events.MESSAGES.items():
        assert f"| `{event_type}` | `{message.DESCRIPTOR.full_name}` |" in text
