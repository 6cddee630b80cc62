"""Which windows may be believed, told by the graph itself."""

from __future__ import annotations

import onnx

from services.lab.training.graph import GraphWriter, Node

LARGEST = 3e38


def _all(g: GraphWriter, condition: Node) -> Node:
    """[N, T] bool -> [N] bool: true where every bar holds."""
    numbers = g.op.Cast(condition, to=onnx.TensorProto.FLOAT)
    least = g.op.ReduceMin(numbers, g.ints(1), keepdims=0)
    return g.op.Greater(least, g.scalar(0.5))


def valid_windows(g: GraphWriter, window: Node, bars: int) -> Node:
    """Flag windows [N, bars, 5] whose prices are finite, positive and ordered: [N] bool.

    Volume must not be negative. NaN fails every comparison.
    """
    opened, high, low, close, volume = (g.column(window, i) for i in range(5))
    flat = g.op.Reshape(window, g.ints(-1, bars * 5))
    conditions = [
        _all(g, g.op.LessOrEqual(g.op.Abs(flat), g.scalar(LARGEST))),
        _all(g, g.op.Greater(low, g.scalar(0.0))),
        _all(g, g.op.GreaterOrEqual(high, g.op.Max(opened, close))),
        _all(g, g.op.LessOrEqual(low, g.op.Min(opened, close))),
        _all(g, g.op.GreaterOrEqual(volume, g.scalar(0.0))),
    ]
    valid = conditions[0]
    for condition in conditions[1:]:
        valid = g.op.And(valid, condition)
    return valid
