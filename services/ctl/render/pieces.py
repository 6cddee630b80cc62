"""Reads the pieces of configuration in `gateway/` and fills them in."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

import yaml

PIECES = Path(__file__).resolve().parents[3] / "gateway"
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it was built in: a bootstrap is made of a hundred pieces."""
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def piece(name: str, /, **values: str | int) -> dict[str, Any]:
    """Return a piece; `${...}` stands for a value, or for JSON where it is more than a word."""
    text = (PIECES / f"{name}.yaml").read_text()
    made: dict[str, Any] = yaml.load(Template(text).substitute(values), LOADER)  # noqa: S506
    return made
