"""The members of the ensemble, fitted: trees on features, networks on the series."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from services.lab.training import networks, trees
from services.lab.training.boosters import BoosterPlan, fit_lightgbm, fit_xgboost
from services.lab.training.data import Inputs
from services.lab.training.kept import Arrays, Kept

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]

WEIGHTS = {"lightgbm": 0.25, "xgboost": 0.25, "nhits": 0.30, "patchtst": 0.20}
"""Default share of each model, in the artifact's order."""
TREES = ("lightgbm", "xgboost")
NETWORKS = ("nhits", "patchtst")
TOLERANCE = 1e-5
_RUN = 4096


@dataclass(frozen=True, slots=True)
class NetPlan:
    """Hyper-parameters of both networks. Not tuned: chosen once, small and regular."""

    epochs: int = 4
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.2
    hidden: int = 64
    """N-HiTS: width of a stack."""
    width: int = 32
    """PatchTST: numbers of a token."""
    seed: int = 7


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """Which models are fitted, and how."""

    models: tuple[str, ...] = TREES
    boosters: BoosterPlan = field(default_factory=BoosterPlan)
    networks: NetPlan = field(default_factory=NetPlan)

    @property
    def weights(self) -> tuple[float, ...]:
        """Default shares of these models; they sum to 1."""
        total = sum(WEIGHTS[name] for name in self.models)
        return tuple(WEIGHTS[name] / total for name in self.models)

    def as_dict(self) -> dict[str, Any]:
        """Return the hyper-parameters by kind of model."""
        found = {"trees": asdict(self.boosters)}
        if set(self.models) & set(NETWORKS):
            found["networks"] = asdict(self.networks)
        return found


@dataclass(frozen=True, slots=True)
class Member:
    """A fitted model: the graph that it is, and what the library says that fitted it."""

    name: str
    model: onnx.ModelProto
    said: Probabilities
    """[N, 3] of the inputs that the artifact is checked with, by the library itself."""


@dataclass(frozen=True, slots=True)
class Fits:
    """One round of fits: what they are checked with, and where finished ones are kept."""

    name: str
    check: Inputs
    kept: Kept
    progress: Callable[[], None]


def have_torch() -> bool:
    """Tell whether networks can be fitted: inference never needs torch, training them does."""
    return importlib.util.find_spec("torch") is not None


def fit_members(inputs: Inputs, labels: Labels, plan: MemberPlan, fits: Fits) -> list[Member]:
    """Fit every model of the plan that is not kept; ValueError when labels lack a class."""
    missing = set(range(trees.CLASSES)) - set(np.unique(labels).tolist())
    if missing:
        raise ValueError(f"no row of class {sorted(missing)}; take more data or a lower barrier")
    found = []
    for name in plan.models:
        piece = f"{fits.name}.{name}"
        member = _read(fits.kept.read(piece), name, fits.check)
        if member is None:
            fit = _fit_tree if name in TREES else _fit_network
            member = fit(name, inputs, labels, plan, fits.check)
            content = np.frombuffer(member.model.SerializeToString(deterministic=True), np.uint8)
            fits.kept.write(piece, {"model": content, "said": member.said})
        found.append(member)
        fits.progress()
    return found


def _read(piece: Arrays | None, name: str, check: Inputs) -> Member | None:
    """Return a kept model; None when there is none that fits what it is to be checked with."""
    if piece is None or set(piece) != {"model", "said"}:
        return None
    if piece["said"].shape != (check.features.shape[0], trees.CLASSES):
        return None
    return Member(name, onnx.load_from_string(piece["model"].tobytes()), piece["said"])


def _fit_tree(name: str, inputs: Inputs, labels: Labels, plan: MemberPlan, check: Inputs) -> Member:
    fit = {"lightgbm": fit_lightgbm, "xgboost": fit_xgboost}[name]
    fitted = fit(inputs.features, labels, plan.boosters)
    return Member(name, fitted.to_onnx(), fitted.predict(check.features))


def _fit_network(
    name: str, inputs: Inputs, labels: Labels, plan: MemberPlan, check: Inputs
) -> Member:
    from services.lab.training import deep  # torch is an extra, and slow to load

    network = deep.fit(name, inputs, labels, plan.networks)
    write = {"nhits": networks.nhits_to_onnx, "patchtst": networks.patchtst_to_onnx}[name]
    return Member(name, write(network.weights()), deep.predict(network, check))


def predict_graph(model: onnx.ModelProto, inputs: Inputs) -> Probabilities:
    """Return the probabilities that a member's graph gives: what is measured is what ships."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    asked = [one.name for one in session.get_inputs()]
    columns = {name: getattr(inputs, name) for name in asked}
    parts = [
        session.run(None, {name: c[start : start + _RUN] for name, c in columns.items()})[0]
        for start in range(0, inputs.features.shape[0], _RUN)
    ]
    return softmax(np.concatenate(parts).astype(np.float64))


def softmax(margins: npt.NDArray[np.float64]) -> Probabilities:
    """Return probabilities of margins [..., 3]."""
    powers = np.exp(margins - margins.max(axis=-1, keepdims=True))
    shares: Probabilities = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def at_temperature(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Return what the artifact's head makes of the same margins at another temperature."""
    return softmax(np.log(np.maximum(probabilities, 1e-12)) / temperature)


def mean_of(members: Sequence[Probabilities], weights: Sequence[float]) -> Probabilities:
    """Return the weighted mean of the members' probabilities."""
    shares = np.asarray(weights).reshape(-1, 1, 1)
    mean: Probabilities = (shares * np.stack(members)).sum(axis=0)
    return mean
