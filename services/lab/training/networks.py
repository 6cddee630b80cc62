"""N-HiTS and PatchTST as ONNX graphs, written from their weights.

A network is a set of named float32 arrays in the orientation `x @ w`; no exporter and no optimiser
comes between them and the graph, so nothing of the framework that trained them is needed here.
Inputs: series [N, 5, 128] and level [N, 4]; output: margins [N, 3].
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx

from services.lab.training.features import WINDOW
from services.lab.training.graph import GraphWriter, Node
from services.lab.training.series import CHANNELS, CLOSE, LEVELS

Weights = Mapping[str, npt.NDArray[np.float32]]

POOLS = (16, 8, 4)
"""N-HiTS: bars that each stack pools, coarse first."""
BACKCAST_KNOTS = (8, 16, 32)
FORECAST_KNOTS = (2, 4, 8)
PATH = 16
"""Steps of the forecast path; there are two, of place and of spread."""
PATCH = 16
"""PatchTST: bars of a patch; patches do not overlap."""
PATCHES = WINDOW // PATCH
LAYERS = 2


def interpolation(knots: int, length: int) -> npt.NDArray[np.float32]:
    """Return [knots, length]: linear interpolation between evenly spaced knots."""
    places = np.linspace(0, knots - 1, length)
    distance = np.abs(places[None, :] - np.arange(knots)[:, None])
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)


def _begin(name: str) -> tuple[GraphWriter, Node, Node]:
    g = GraphWriter(name)
    series = g.input("series", ["N", len(CHANNELS), WINDOW])
    return g, series, g.input("level", ["N", LEVELS])


def _linear(g: GraphWriter, x: Node, w: Weights, name: str) -> Node:
    return g.op.Add(g.op.MatMul(x, g.constant(w[f"{name}.w"])), g.constant(w[f"{name}.b"]))


def nhits_to_onnx(w: Weights) -> onnx.ModelProto:
    """Return N-HiTS: stacks that each read a coarser view and explain away part of the close."""
    g, series, level = _begin("nhits")
    residual = g.op.Slice(series, g.ints(CLOSE), g.ints(CLOSE + 1), g.ints(1))
    paths = None
    for index, pool in enumerate(POOLS):
        views = [
            g.op.Reshape(
                g.op.MaxPool(x, kernel_shape=[pool], strides=[pool]),
                g.ints(-1, width * WINDOW // pool),
            )
            for x, width in ((series, len(CHANNELS)), (residual, 1))
        ]
        hidden = g.op.Concat(*views, level, axis=1)
        for layer in ("a", "b"):
            hidden = g.op.Relu(_linear(g, hidden, w, f"stack{index}.{layer}"))
        knots = _linear(g, hidden, w, f"stack{index}.knots")
        back, front = BACKCAST_KNOTS[index], FORECAST_KNOTS[index]
        backcast = g.op.MatMul(g.columns(knots, 0, back), g.constant(interpolation(back, WINDOW)))
        residual = g.op.Sub(residual, g.op.Reshape(backcast, g.ints(-1, 1, WINDOW)))
        both = np.kron(np.eye(2, dtype=np.float32), interpolation(front, PATH))
        forecast = g.op.MatMul(g.columns(knots, back, back + 2 * front), g.constant(both))
        paths = forecast if paths is None else g.op.Add(paths, forecast)
    hidden = g.op.Relu(_linear(g, g.op.Concat(paths, level, axis=1), w, "head.a"))
    g.output(_linear(g, hidden, w, "head.b"), "margins", ["N", 3])
    return g.model()


def patchtst_to_onnx(w: Weights) -> onnx.ModelProto:
    """Return PatchTST: patches of all channels as tokens, one attention head, ReLU.

    Batch normalisation stands before each layer and is folded into its weights.
    """
    g, series, level = _begin("patchtst")
    width = w["embed.w"].shape[1]
    cut = g.op.Reshape(series, g.ints(-1, len(CHANNELS), PATCHES, PATCH))
    tokens = g.op.Reshape(
        g.op.Transpose(cut, perm=[0, 2, 1, 3]), g.ints(-1, PATCHES, len(CHANNELS) * PATCH)
    )
    x = g.op.Add(g.op.MatMul(tokens, g.constant(w["embed.w"])), g.constant(w["embed.place"]))
    for layer in range(LAYERS):
        query, key, value = (_linear(g, x, w, f"layer{layer}.{part}") for part in "qkv")
        scores = g.op.MatMul(query, g.op.Transpose(key, perm=[0, 2, 1]))
        shares = g.op.Softmax(g.op.Mul(scores, g.scalar(width**-0.5)), axis=-1)
        x = g.op.Add(x, _linear(g, g.op.MatMul(shares, value), w, f"layer{layer}.o"))
        hidden = g.op.Relu(_linear(g, x, w, f"layer{layer}.a"))
        x = g.op.Add(x, _linear(g, hidden, w, f"layer{layer}.b"))
    flat = g.op.Concat(g.op.Reshape(x, g.ints(-1, PATCHES * width)), level, axis=1)
    g.output(_linear(g, flat, w, "head"), "margins", ["N", 3])
    return g.model()
