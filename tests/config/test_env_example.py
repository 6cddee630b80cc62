"""The example of `.env`: it holds every setting that is read anywhere, and nothing else."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / ".env.example"
NO_SETTINGS = {"PATH", "SUDO_USER"}
"""Variables of the machine that are read besides."""
LINE = re.compile(r"(?P<off># )?(?P<key>[A-Z][A-Z0-9_]*)=")


def lines() -> Iterator[tuple[str, bool]]:
    """Yield each setting of the example and whether its line sets it."""
    for line in EXAMPLE.read_text().splitlines():
        if found := LINE.match(line):
            yield found["key"], not found["off"]


@cache
def kinds() -> tuple[Any, ...]:
    """Return every class of settings, wherever it stands."""
    found: dict[str, Any] = {}
    for file in (ROOT / "services").rglob("*.py"):
        if re.search(r"^class \w+\(.*Settings\b.*\):", file.read_text(), re.MULTILINE):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            for kind in vars(importlib.import_module(name)).values():
                if inspect.isclass(kind) and issubclass(kind, BaseSettings):
                    found[f"{kind.__module__}.{kind.__qualname__}"] = kind
    del found[f"{BaseSettings.__module__}.{BaseSettings.__qualname__}"]
    return tuple(found.values())


@cache
def read_by_name() -> set[str]:
    """Return what is read of the environment without a class of settings."""
    found: set[Any] = set()
    for file in (ROOT / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Subscript(
                    value=ast.Attribute(attr="environ"), slice=ast.Constant(value=n)
                ):
                    found.add(n)
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"),
                    args=[ast.Constant(value=n), *_],
                ):
                    found.add(n)
                case ast.Call(func=ast.Attribute(attr="getenv"), args=[ast.Constant(value=n), *_]):
                    found.add(n)
                case ast.keyword(arg="envvar", value=ast.Constant(value=n)):
                    found.add(n)
    return found - NO_SETTINGS


@cache
def known() -> set[str]:
    fields = {field.upper() for kind in kinds() for field in kind.model_fields}
    return fields | read_by_name()


def test_settings_are_found_in_every_process_and_in_qt() -> None:
    owners = {kind.__module__.split(".")[1] for kind in kinds()}
    assert owners >= {"ai", "analytics", "ctl", "exec_risk", "kit", "venue"}
    assert {"GRPC_ADDRESS", "NATS_URL", "QUANTUM_ENV_FILE"} <= read_by_name()


@pytest.mark.parametrize("key", sorted(known()))
def test_every_setting_is_in_the_example(key: str) -> None:
    assert key in {name for name, _ in lines()}


@pytest.mark.parametrize("key", [name for name, _ in lines()])
def test_every_key_is_read(key: str) -> None:
    assert key in known()


def test_no_key_stands_twice() -> None:
    names = [name for name, _ in lines()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__qualname__)
def test_every_value_is_taken(kind: Any) -> None:
    kind(_env_file=EXAMPLE)


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__qualname__)
def test_a_copy_of_the_example_changes_nothing(kind: Any) -> None:
    assert kind(_env_file=EXAMPLE).model_dump() == kind(_env_file=None).model_dump()
