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


def described() -> dict[str, bool]:
    """Every RPC, message, field, enum and value of our contracts, and whether it has a comment."""
    descriptor = descriptor_pb2.FileDescriptorSet.FromString(
        (GENERATED / "descriptor.binpb").read_bytes()
    )
    found: dict[str, bool] = {}
    for file in descriptor.file:
        if not file.name.startswith("quantum/"):
            continue
        commented = {
            tuple(place.path)
            for place in file.source_code_info.location
            if (place.leading_comments or place.trailing_comments).strip()
        }
        for path, name in parts_of(file):
            found[f"{file.package}.{name}"] = path in commented
    return found


Place = tuple[tuple[int, ...], str]


def parts_of(file: descriptor_pb2.FileDescriptorProto) -> list[Place]:
    found: list[Place] = []
    for number, service in enumerate(file.service):
        found.append(((6, number), service.name))
        found += [
            ((6, number, 2, i), f"{service.name}.{m.name}") for i, m in enumerate(service.method)
        ]
    for number, message in enumerate(file.message_type):
        found += parts_of_message((4, number), message.name, message)
    for number, kind in enumerate(file.enum_type):
        found += parts_of_enum((5, number), kind.name, kind)
    return found


def parts_of_message(
    path: tuple[int, ...], name: str, message: descriptor_pb2.DescriptorProto
) -> list[Place]:
    found: list[Place] = [(path, name)]
    found += [((*path, 2, i), f"{name}.{f.name}") for i, f in enumerate(message.field)]
    for i, inner in enumerate(message.nested_type):
        if not inner.options.map_entry:
            found += parts_of_message((*path, 3, i), f"{name}.{inner.name}", inner)
    for i, kind in enumerate(message.enum_type):
        found += parts_of_enum((*path, 4, i), f"{name}.{kind.name}", kind)
    return found


def parts_of_enum(
    path: tuple[int, ...], name: str, kind: descriptor_pb2.EnumDescriptorProto
) -> list[Place]:
    values = [((*path, 2, i), f"{name}.{v.name}") for i, v in enumerate(kind.value)]
    return [(path, name), *values]


def test_everything_in_the_contracts_is_described() -> None:
    found = described()
    assert len(found) > 500
    assert [name for name, said in found.items() if not said] == []


def test_only_one_target_changes_what_contracts_are_compared_with() -> None:
    """Nothing else may move the line that breaking changes are measured from."""
    text = (ROOT / "Makefile").read_text()
    targets = {
        block.split(":")[0] for block in text.split("\n\n") if "-o protos/released.binpb" in block
    }
    assert targets == {"release-contracts"}


def test_a_broken_contract_is_found(tmp_path: Path) -> None:
    """A field that is renamed breaks REST clients, one of another type every client."""
    buf = Path(sys.executable).parent / "buf"
    rule = '{"version":"v2","breaking":{"use":["WIRE_JSON"]}}'
    image = subprocess.run([buf, "build", "-o", "-"], check=True, capture_output=True, cwd=ROOT)
    held = descriptor_pb2.FileDescriptorSet.FromString(image.stdout)
    signal = next(f for f in held.file if f.name == "quantum/ai/v1/signal.proto")
    field = next(m for m in signal.message_type if m.name == "Signal").field[0]

    def compared() -> str:
        against = ["--against", "protos/released.binpb", "--config", rule]
        done = subprocess.run(
            [buf, "breaking", "-", *against],
            input=held.SerializeToString(),
            capture_output=True,
            cwd=ROOT,
        )
        return done.stdout.decode()

    assert compared() == ""
    field.name, field.json_name = "renamed", "renamed"
    assert "signal_id" in compared()
