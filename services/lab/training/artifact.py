"""Join features, models and ensemble into one graph, and refuse it unless it keeps its word.

window [N, T, 5] -> valid [N], features [N, F], atr_fraction [N], model_probs [N, M, 3],
probs [N, 3]; `weights` [M] and `temperature` [M] are initialisers that a run may override.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, compose, helper, numpy_helper

from services.lab.training.features import FEATURES, WINDOW
from services.lab.training.graph import IR_VERSION, ML_OPSET, OPSET

OUTPUTS = ("valid", "features", "atr_fraction", "model_probs", "probs")
LARGEST_BATCH = 256
STEP = 8
"""Batches are padded to a multiple of this; a row must not depend on which."""

Floats = npt.NDArray[np.float32]
Run = dict[str, npt.NDArray[np.generic]]


class ArtifactRefused(ValueError):
    """The graph breaks a promise and must not be shipped; the message says which."""


@dataclass(frozen=True, slots=True)
class Part:
    """One model of the ensemble as a graph from outputs of the features graph to margins [N, 3]."""

    name: str
    model: onnx.ModelProto
    weight: float
    temperature: float = 1.0


def join(features: onnx.ModelProto, members: Sequence[Part]) -> onnx.ModelProto:
    """Return the whole graph, checked by ONNX's checker and shape inference."""
    nodes = list(features.graph.node)
    initialisers = list(features.graph.initializer)
    for member in members:
        prefixed = compose.add_prefix(member.model, f"{member.name}_", rename_inputs=False)
        nodes.extend(prefixed.graph.node)
        initialisers.extend(prefixed.graph.initializer)
    head, constants = _head([member.name for member in members])
    nodes.extend(head)
    knobs = {
        "weights": np.array([member.weight for member in members], dtype=np.float32),
        "temperature": np.array([member.temperature for member in members], dtype=np.float32),
    }
    initialisers += constants
    initialisers += [numpy_helper.from_array(array, name) for name, array in knobs.items()]
    inputs = list(features.graph.input) + [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [len(members)]) for name in knobs
    ]
    outputs = [
        *(output for output in features.graph.output if output.name in OUTPUTS),
        helper.make_tensor_value_info("model_probs", TensorProto.FLOAT, ["N", len(members), 3]),
        helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["N", 3]),
    ]
    graph = helper.make_graph(nodes, "quantum_trader", inputs, outputs, initialisers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    for node in model.graph.node:
        del node.metadata_props[:]
    names = {"features": json.dumps(FEATURES), "models": json.dumps([m.name for m in members])}
    helper.set_model_props(model, names)
    _check(model)
    return model


def _head(
    names: Sequence[str],
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Softmax(margins / temperature) per model, then the weighted mean."""
    constants = [
        numpy_helper.from_array(np.array([1], dtype=np.int64), "head_axis"),
        numpy_helper.from_array(np.array([1, -1, 1], dtype=np.int64), "head_shape"),
        numpy_helper.from_array(np.array(0.0, dtype=np.float32), "head_zero"),
        numpy_helper.from_array(np.array(1e-6, dtype=np.float32), "head_least_sum"),
        numpy_helper.from_array(np.array(0.05, dtype=np.float32), "head_least_temperature"),
    ]
    node = helper.make_node
    raised = [
        node("Unsqueeze", [f"{name}_margins", "head_axis"], [f"head_{name}"]) for name in names
    ]
    return [
        *raised,
        node("Concat", [f"head_{name}" for name in names], ["head_margins"], axis=1),
        node("Max", ["temperature", "head_least_temperature"], ["head_t"]),
        node("Reshape", ["head_t", "head_shape"], ["head_temperature"]),
        node("Div", ["head_margins", "head_temperature"], ["head_logits"]),
        node("Softmax", ["head_logits"], ["model_probs"], axis=-1),
        node("Max", ["weights", "head_zero"], ["head_positive"]),
        node("ReduceSum", ["head_positive"], ["head_sum"], keepdims=1),
        node("Max", ["head_sum", "head_least_sum"], ["head_total"]),
        node("Div", ["head_positive", "head_total"], ["head_share"]),
        node("Reshape", ["head_share", "head_shape"], ["head_weights"]),
        node("Mul", ["model_probs", "head_weights"], ["head_weighted"]),
        node("ReduceSum", ["head_weighted", "head_axis"], ["probs"], keepdims=0),
    ], constants


def _check(model: onnx.ModelProto) -> None:
    domains = sorted(opset.domain for opset in model.opset_import)
    if domains != ["", "ai.onnx.ml"]:
        raise ArtifactRefused(f"operator domains {domains}")
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


class Artifact:
    """The joined graph in ONNX Runtime, for checking it and for making the golden answers."""

    def __init__(self, content: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(self, windows: Floats, **knobs: Floats) -> Run:
        """Return all outputs by name."""
        found = self._session.run(list(OUTPUTS), {"window": windows, **knobs})
        return dict(zip(OUTPUTS, found, strict=True))


def check_rows(artifact: Artifact, windows: Floats) -> None:
    """Refuse unless a row's bits are the same in every padded batch and position.

    `windows` holds at least the largest batch; each padded size is tried with the rows rotated,
    so that each row is seen at many positions.
    """
    size = windows.shape[0]
    if size < LARGEST_BATCH:
        raise ArtifactRefused(f"{size} windows are too few to check batches of {LARGEST_BATCH}")
    whole = artifact.run(windows[:LARGEST_BATCH])
    for count in range(STEP, LARGEST_BATCH + 1, STEP):
        for shift in (0, 1, count // 2, LARGEST_BATCH - count // 2 - 3):
            rows = (np.arange(count) + shift) % LARGEST_BATCH
            part = artifact.run(windows[rows])
            for name in OUTPUTS:
                if part[name].tobytes() != whole[name][rows].tobytes():
                    raise ArtifactRefused(
                        f"{name} of a row differs in a batch of {count}, shift {shift}"
                    )


def check_finite(artifact: Artifact, windows: Floats) -> None:
    """Refuse unless flat, silent and invalid windows give finite numbers and the right flag."""
    for name, odd, expected in odd_windows(windows[0]):
        found = artifact.run(np.repeat(odd[None], STEP, axis=0))
        if bool(found["valid"][0]) is not expected:
            raise ArtifactRefused(f"{name} window: valid is not {expected}")
        for output in OUTPUTS[1:]:
            if not np.isfinite(found[output].astype(np.float64)).all():
                raise ArtifactRefused(f"{name} window: {output} is not finite")


def odd_windows(window: Floats) -> list[tuple[str, Floats, bool]]:
    """Return (name, window, whether it is valid) made from a good window."""
    flat = np.full((WINDOW, 5), 100.0, dtype=np.float32)
    silent, broken, upside_down = window.copy(), window.copy(), window.copy()
    silent[:, 4] = 0.0
    broken[3, 0] = np.nan
    upside_down[5, 1] = window[5, 2] * np.float32(0.5)
    return [
        ("flat", flat, True),
        ("silent", silent, True),
        ("not a number", broken, False),
        ("high below low", upside_down, False),
    ]


def generated_windows(count: int, seed: int = 1) -> Floats:
    """Return random walks of many prices and volumes: recorded candles are not shipped."""
    random = np.random.default_rng(seed)
    size = (count, WINDOW)
    price = 10.0 ** random.uniform(-4, 5, (count, 1))
    wildness = 10.0 ** random.uniform(-4, -2.3, (count, 1))
    close = price * np.exp(np.cumsum(random.normal(0, wildness, size), axis=1))
    opened = np.concatenate([price, close[:, :-1]], axis=1)
    high = np.maximum(opened, close) * (1 + np.abs(random.normal(0, wildness / 2, size)))
    low = np.minimum(opened, close) * (1 - np.abs(random.normal(0, wildness / 2, size)))
    volume = random.lognormal(0, 1, size) * 10.0 ** random.uniform(-1, 9, (count, 1))
    return np.stack([opened, high, low, close, volume], axis=2).astype(np.float32)


def golden(artifact: Artifact, windows: Floats) -> Run:
    """Return windows, odd ones among them, and the artifact's answers to them."""
    odd = [window for _, window, _ in odd_windows(windows[0])]
    padding = [windows[1]] * (-(windows.shape[0] + len(odd)) % STEP)
    rows = np.concatenate([windows, np.stack([*odd, *padding])])
    return {"window": rows, **artifact.run(rows)}
