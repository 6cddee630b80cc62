"""The rules of the house (design section 5), held by reading the imports of every file."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "services"
PROCESSES = ("ai", "exec_risk", "analytics", "venue", "console", "trainer")
SHARED = ("kit", "trade", "catalog")
IMPURE = {
    "aiohttp", "asyncio", "asyncpg", "ccxt", "datetime.now", "google", "grpc", "nats", "os",
    "quantum", "random", "secrets", "socket", "sqlite3", "subprocess", "threading", "time",
}  # fmt: skip
BANNED_NAMES = {"utils", "helpers", "manager", "base", "common", "misc"}


def python_files(*folders: Path) -> list[Path]:
    return sorted(p for folder in folders for p in folder.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def top_level_imports(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


CORES = [
    p
    for p in python_files(*(SERVICES / name / "core" for name in PROCESSES), SERVICES / "trade")
    if not p.name.endswith("codec.py")
]


def test_there_are_cores_to_check() -> None:
    assert len(CORES) > 10


@pytest.mark.parametrize("path", CORES, ids=relative)
def test_a_core_is_pure(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & IMPURE


@pytest.mark.parametrize("path", CORES, ids=relative)
def test_a_core_knows_only_its_own_service_and_the_shared_words(path: Path) -> None:
    own = path.relative_to(SERVICES).parts[0]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "services":
            assert parts[1] in (own, "trade"), f"{relative(path)} imports {name}"


@pytest.mark.parametrize("name", [p for p in PROCESSES if (SERVICES / p).exists()])
def test_services_never_import_each_other(name: str) -> None:
    for path in python_files(SERVICES / name):
        for imported in imports(path):
            parts = imported.split(".")
            if parts[0] == "services" and len(parts) > 1:
                assert parts[1] in (name, *SHARED), f"{relative(path)} imports {imported}"


EXEC_RISK_SHELL = {
    "candles", "leader", "overdue", "seams", "sender", "term", "term_limits",
}  # fmt: skip


@pytest.mark.parametrize("path", python_files(SERVICES / "lab"), ids=relative)
def test_lab_imports_cores_and_the_shell_of_exec_risk(path: Path) -> None:
    for imported in imports(path):
        parts = imported.split(".")
        if parts[0] != "services" or parts[1] in ("lab", *SHARED):
            continue
        core = len(parts) > 2 and parts[2] == "core"
        shell = parts[1] == "exec_risk" and parts[2] in EXEC_RISK_SHELL
        assert core or shell, f"{relative(path)} imports {imported}"


def test_kit_knows_no_domain() -> None:
    for path in python_files(SERVICES / "kit"):
        for imported in imports(path):
            parts = imported.split(".")
            if parts[0] == "services":
                assert parts[1] in ("kit", "catalog"), f"{relative(path)} imports {imported}"
            if parts[0] == "quantum":
                assert parts[1] == "ops", f"{relative(path)} imports {imported}"


def test_ccxt_is_imported_at_the_top_only_in_the_exchange_modules() -> None:
    for path in python_files(SERVICES):
        if path.parent == SERVICES / "exec_risk" / "exchange":
            continue
        assert not any(name.split(".")[0] == "ccxt" for name in top_level_imports(path)), path


def test_only_kit_settings_and_ctl_read_the_environment() -> None:
    for path in python_files(SERVICES):
        parts = path.relative_to(SERVICES).parts
        if parts[0] in ("ctl", "lab") or parts == ("kit", "settings.py"):
            continue
        text = path.read_text()
        assert "os.environ" not in text and "os.getenv" not in text, relative(path)


def test_no_file_has_a_name_that_says_nothing() -> None:
    for path in python_files(SERVICES, ROOT / "tests"):
        assert path.stem not in BANNED_NAMES, relative(path)


def test_every_module_says_what_it_is_for() -> None:
    for path in python_files(SERVICES):
        if path.read_text().strip():
            assert ast.get_docstring(ast.parse(path.read_text())), relative(path)


@pytest.mark.parametrize(
    "name", [p for p in (*PROCESSES, "ctl") if (SERVICES / p / "__main__.py").exists()]
)
def test_entry_points_import(name: str) -> None:
    """Incident 116: every entry point, and all that it needs, can be imported."""
    assert importlib.import_module(f"services.{name}.__main__").__doc__
