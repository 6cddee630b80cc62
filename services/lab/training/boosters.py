"""The two tree models: fitted on one core, the same with the same seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import onnx
import xgboost

from services.lab.training import trees
from services.lab.training.data import Floats

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BoosterPlan:
    """Hyper-parameters of both tree models. Not tuned: chosen once, small and regular."""

    rounds: int = 100
    leaves: int = 15
    depth: int = 4
    learning_rate: float = 0.05
    min_rows_in_leaf: int = 200
    row_share: float = 0.7
    column_share: float = 0.7
    l2: float = 5.0
    seed: int = 7

    def as_dict(self) -> dict[str, float]:
        """Return the hyper-parameters by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model: how it predicts and how it becomes a graph."""

    name: str
    predict: Callable[[Floats], Probabilities]
    """Features [N, F] -> probabilities [N, 3]."""
    to_onnx: Callable[[], onnx.ModelProto]


Fit = Callable[[Floats, npt.NDArray[np.int64], BoosterPlan], Fitted]


def fit_lightgbm(features: Floats, labels: npt.NDArray[np.int64], plan: BoosterPlan) -> Fitted:
    """Fit LightGBM."""
    parameters = {
        "objective": "multiclass",
        "num_class": trees.CLASSES,
        "num_leaves": plan.leaves,
        "learning_rate": plan.learning_rate,
        "min_data_in_leaf": plan.min_rows_in_leaf,
        "feature_fraction": plan.column_share,
        "bagging_fraction": plan.row_share,
        "bagging_freq": 1,
        "lambda_l2": plan.l2,
        "seed": plan.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    data = lightgbm.Dataset(features, labels)
    booster = lightgbm.train(parameters, data, plan.rounds)
    width = features.shape[1]

    def predict(rows: Floats) -> Probabilities:
        return np.asarray(booster.predict(rows, num_threads=1))

    return Fitted("lightgbm", predict, lambda: trees.lightgbm_to_onnx(booster, width))


def fit_xgboost(features: Floats, labels: npt.NDArray[np.int64], plan: BoosterPlan) -> Fitted:
    """Fit XGBoost."""
    parameters: dict[str, Any] = {
        "objective": "multi:softprob",
        "num_class": trees.CLASSES,
        "max_depth": plan.depth,
        "eta": plan.learning_rate,
        "min_child_weight": plan.min_rows_in_leaf / 10,
        "subsample": plan.row_share,
        "colsample_bytree": plan.column_share,
        "lambda": plan.l2,
        "seed": plan.seed,
        "tree_method": "hist",
        "nthread": 1,
    }
    booster = xgboost.train(parameters, xgboost.DMatrix(features, labels, nthread=1), plan.rounds)
    width = features.shape[1]

    def predict(rows: Floats) -> Probabilities:
        return np.asarray(booster.predict(xgboost.DMatrix(rows, nthread=1)), dtype=np.float64)

    return Fitted("xgboost", predict, lambda: trees.xgboost_to_onnx(booster, width))


FITS: tuple[Fit, ...] = (fit_lightgbm, fit_xgboost)
"""Both, in the artifact's order."""
