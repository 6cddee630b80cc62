"""What an artifact says of the windows of a run, as columns: a value a row would cost as much as
deciding about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


class ModelOutput(NamedTuple):
    """What the artifact says of one window."""

    valid: bool
    atr_fraction: float
    probabilities: tuple[float, float, float]
    """Ensemble: down, flat, up."""
    model_probabilities: tuple[tuple[float, float, float], ...]
    """Each model, in the manifest's order."""


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """The answers of one artifact, in the order of the windows."""

    valid: npt.NDArray[np.bool_]
    """[rows]."""
    atr_fraction: Doubles
    """[rows]."""
    probabilities: Doubles
    """[rows, 3]: the ensemble's down, flat, up."""
    model_probabilities: Doubles
    """[rows, models, 3], in the manifest's order."""

    @classmethod
    def of(cls, rows: Sequence[ModelOutput]) -> Outputs:
        """Return single answers as columns; they are of the same number of models."""
        return cls(
            np.array([row.valid for row in rows], dtype=np.bool_),
            np.array([row.atr_fraction for row in rows], dtype=np.float64),
            np.array([row.probabilities for row in rows], dtype=np.float64).reshape(-1, 3),
            np.array([row.model_probabilities for row in rows], dtype=np.float64).reshape(
                len(rows), -1 if rows else 0, 3
            ),
        )

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        """Return the answers of several runs as those of one."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.of([])
        return cls(
            np.concatenate([part.valid for part in parts]),
            np.concatenate([part.atr_fraction for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate([part.model_probabilities for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.valid)

    def row(self, number: int) -> ModelOutput:
        """Return what was said of one window."""
        down, flat, up = self.probabilities[number].tolist()
        return ModelOutput(
            bool(self.valid[number]),
            self.atr_fraction.item(number),
            (down, flat, up),
            tuple((d, f, u) for d, f, u in self.model_probabilities[number].tolist()),
        )

    def rows(self) -> list[ModelOutput]:
        """Return what was said of each window."""
        return [self.row(number) for number in range(len(self))]
