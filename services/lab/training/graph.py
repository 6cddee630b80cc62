"""A thin writer over onnxscript's GraphBuilder: constants are cached, shapes are plain ints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxscript

OPSET = 18
ML_OPSET = 5
IR_VERSION = 10

type_float = ir.TensorType(ir.DataType.FLOAT)
type_bool = ir.TensorType(ir.DataType.BOOL)

Node = Any
"""A value in the graph; onnxscript's own type is private."""


class GraphWriter:
    """Builds one ONNX graph by tracing. No optimiser runs on it: they delete small epsilons."""

    def __init__(self, name: str) -> None:
        self._graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name=name)
        self._builder = onnxscript.GraphBuilder(self._graph)
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Node] = {}
        self.op: Any = self._builder.op

    def input(self, name: str, shape: Sequence[str | int]) -> Node:
        """Declare a float32 input."""
        value = ir.Value(name=name, type=type_float, shape=ir.Shape(shape))
        self._graph.inputs.append(value)
        return value

    def output(
        self, value: Node, name: str, shape: Sequence[str | int], kind: ir.TensorType = type_float
    ) -> None:
        """Declare a value as output under a name."""
        named = self.op.Identity(value)
        named.name, named.type, named.shape = name, kind, ir.Shape(shape)
        self._graph.outputs.append(named)

    def constant(self, array: npt.NDArray[Any]) -> Node:
        """Return an initialiser; equal arrays share one."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"k{len(self._constants)}"
            self._constants[key] = self._builder.initializer(ir.tensor(array, name=name), name)
        return self._constants[key]

    def scalar(self, number: float) -> Node:
        """Return a float32 scalar."""
        return self.constant(np.array(number, dtype=np.float32))

    def ints(self, *numbers: int) -> Node:
        """Return an int64 vector: axes, starts, ends, shapes."""
        return self.constant(np.array(numbers, dtype=np.int64))

    def column(self, window: Node, index: int) -> Node:
        """Take one column of windows [N, T, C]: [N, T]."""
        return self.op.Gather(window, self.constant(np.array(index, dtype=np.int64)), axis=2)

    def columns(self, value: Node, start: int, end: int) -> Node:
        """Slice [N, T] along its second axis."""
        return self.op.Slice(value, self.ints(start), self.ints(end), self.ints(1))

    def total(self, value: Node, width: int) -> Node:
        """Sum [N, width] along its second axis: [N, 1].

        A MatMul, because ReduceSum begins its vector steps at aligned addresses: the last bits of
        a row would depend on its place in the batch.
        """
        return self.op.MatMul(value, self.constant(np.ones((width, 1), dtype=np.float32)))

    def mean(self, value: Node, width: int) -> Node:
        """Mean of [N, width] along its second axis: [N, 1]."""
        return self.op.Div(self.total(value, width), self.scalar(float(width)))

    def floor(self, value: Node, least: float) -> Node:
        """Guard a denominator: at least `least`."""
        return self.op.Max(value, self.scalar(least))

    def weigh(self, value: Node, kernels: Sequence[npt.NDArray[np.float64]]) -> list[Node]:
        """Apply weight vectors in one MatMul; returns one [N, 1] each."""
        matrix = np.stack(kernels, axis=1).astype(np.float32)
        product = self.op.MatMul(value, self.constant(matrix))
        return [self.columns(product, i, i + 1) for i in range(len(kernels))]

    def model(self) -> onnx.ModelProto:
        """Return the finished model."""
        return ir.to_proto(ir.Model(self._graph, ir_version=IR_VERSION))
