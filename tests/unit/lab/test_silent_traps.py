"""Tools that change a graph without a word: each of the known traps would be noticed."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnxscript import optimizer

from services.lab.training import artifact
from services.lab.training.features import build_features
from services.lab.training.graph import GraphWriter
from services.lab.training.networks import nhits_to_onnx, patchtst_to_onnx
from tests.unit.lab.reference_networks import random_weights


@pytest.fixture(scope="module")
def joined() -> onnx.ModelProto:
    parts = [
        artifact.Part("nhits", nhits_to_onnx(random_weights("nhits")), 0.6),
        artifact.Part("patchtst", patchtst_to_onnx(random_weights("patchtst")), 0.4, 1.2),
    ]
    return artifact.join(build_features(), parts)


def test_an_epsilon_that_an_optimiser_deleted_is_refused() -> None:
    """A guard written as a sum vanishes in the optimiser; ours are maxima, and are tried."""
    g = GraphWriter("sum")
    x = g.input("x", ["N", 1])
    g.output(g.op.Div(x, g.op.Add(x, g.scalar(1e-12))), "y", ["N", 1])
    model = ir.from_proto(g.model())
    optimizer.optimize(model)
    session = ort.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": np.zeros((1, 1), dtype=np.float32)})
    assert not np.isfinite(found).all(), "the optimiser keeps epsilons now: this trap is gone"


def test_odd_windows_are_finite_and_tried_before_shipping(joined: onnx.ModelProto) -> None:
    loaded = artifact.Artifact(joined.SerializeToString())
    windows = artifact.generated_windows(artifact.LARGEST_BATCH)
    artifact.check_finite(loaded, windows)
    artifact.check_rows(loaded, windows)


def test_no_node_declares_an_optional_output(joined: onnx.ModelProto) -> None:
    """MaxPool with its indices takes a slow kernel."""
    pools = [node for node in joined.graph.node if node.op_type == "MaxPool"]
    assert pools
    assert all(len(node.output) == 1 for node in pools)


def test_run_time_weights_stay_inputs_with_a_default(joined: onnx.ModelProto) -> None:
    """Simplifiers turn them into constants: then a run that sets them is refused or ignored."""
    inputs = {value.name for value in joined.graph.input}
    defaults = {tensor.name for tensor in joined.graph.initializer}
    assert {"weights", "temperature"} <= inputs & defaults
    loaded = artifact.Artifact(joined.SerializeToString())
    windows = artifact.generated_windows(8)
    first = loaded.run(windows, weights=np.array([1, 0], dtype=np.float32))
    assert np.array_equal(first["probs"], first["model_probs"][:, 0])
    assert not np.array_equal(first["probs"], loaded.run(windows)["probs"])


def test_nothing_of_the_machine_that_made_it_is_inside(joined: onnx.ModelProto) -> None:
    content = joined.SerializeToString()
    assert b".py" not in content
    assert b"/" + b"home" not in content
    assert b"/" + b"tmp" not in content
