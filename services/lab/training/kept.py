"""Finished pieces of one training on disk, so that the same training goes on where it was."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

_FITTING = (
    "baselines", "boosters", "deep", "graph", "members", "networks", "series", "trees",
    "walk_forward",
)  # fmt: skip
"""Modules whose code decides what is kept; what they read is told by its numbers."""

Arrays = Mapping[str, npt.NDArray[Any]]


class Kept:
    """Named arrays in one folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def read(self, name: str) -> Arrays | None:
        """Return a piece that an earlier run finished; None for one that must be made again."""
        if self._folder is None:
            return None
        try:
            with (
                (self._folder / f"{name}.npz").open("rb") as source,
                np.load(source, allow_pickle=False) as stored,
            ):
                found = {key: np.asarray(stored[key]) for key in stored.files}
        except (OSError, ValueError, EOFError, BadZipFile):
            return None
        return found or None

    def write(self, name: str, arrays: Arrays) -> None:
        """Keep a piece: whole or not at all, whatever happens meanwhile."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._folder / f"{name}.part"
        with unfinished.open("wb") as target:
            np.savez_compressed(target, **arrays)  # type: ignore[arg-type]
            target.flush()
            os.fsync(target.fileno())
        unfinished.replace(self._folder / f"{name}.npz")


def digest_of_sources() -> str:
    """Return SHA-256 of the code that fits: what other code made is not gone on with."""
    content = hashlib.sha256()
    for name in _FITTING:
        content.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return content.hexdigest()
