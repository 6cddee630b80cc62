"""Nothing that runs in production makes data up."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SERVICES = Path(__file__).resolve().parents[2] / "services"
MAY_DRAW = {
    "lab": "simulation and training draw from a seed",
    "venue": "the paper market is generated from a seed",
}
PORTS = SERVICES / "ctl" / "servers" / "free.py"
"""Chooses free ports among those that nobody listens on."""
INVENTORS = {"random", "faker", "mock", "unittest"}
WORDS = ("placeholder", "dummy", "fake_", "mock_", "not implemented")


def production_files() -> list[Path]:
    return sorted(
        path
        for path in SERVICES.rglob("*.py")
        if path.relative_to(SERVICES).parts[0] not in MAY_DRAW and path != PORTS
    )


def invented(source: str) -> list[str]:
    """Return what in a file draws numbers or stands in for real data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in INVENTORS]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [node.module or ""] if (node.module or "").split(".")[0] in INVENTORS else []
        elif isinstance(node, ast.Attribute) and node.attr == "random":
            found.append(ast.unparse(node))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Name):
            name = (node.id if isinstance(node, ast.Name) else node.name).lower()
            found += [name for word in WORDS if word in name]
    return found


@pytest.mark.parametrize("path", production_files(), ids=lambda p: str(p.relative_to(SERVICES)))
def test_no_service_draws_numbers_or_stands_in_for_data(path: Path) -> None:
    """Incident 102: an endpoint answered random.uniform, and a model learned placeholders."""
    assert invented(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import random",
        "from random import uniform",
        "import numpy as np\nprice = np.random.uniform(1, 2)",
        "from unittest.mock import Mock",
        "def placeholder_prices(): ...",
        "mock_price = 1",
    ],
)
def test_the_rule_sees_what_it_is_about(source: str) -> None:
    assert invented(source)
