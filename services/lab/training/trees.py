"""LightGBM and XGBoost boosters as ONNX TreeEnsemble nodes, exact for float32 features.

The common converter rounds LightGBM's double thresholds to the nearest float32, which moves rows
to the other side. For a float32 x, `x <= t` equals `x <= largest float32 not above t`, so
rounding down is exact. Outputs are raw margins [N, 3]; the ensemble head makes probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from services.lab.training.graph import IR_VERSION, ML_OPSET, OPSET

CLASSES = 3
_LEQ, _LT = 0, 1


class UnsupportedTree(ValueError):
    """The booster holds something that this converter would not turn exactly."""


def float32_floor(threshold: float) -> np.float32:
    """Return the largest float32 that is not above the threshold."""
    rounded = np.float32(threshold)
    if float(rounded) <= threshold:
        return rounded
    below: np.float32 = np.nextafter(rounded, np.float32(-np.inf))
    return below


@dataclass(slots=True)
class _Forest:
    """Nodes and leaves of all trees, flat, as the TreeEnsemble operator wants them."""

    mode: int
    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    splits: list[np.float32] = field(default_factory=list)
    true_ids: list[int] = field(default_factory=list)
    true_leafs: list[int] = field(default_factory=list)
    false_ids: list[int] = field(default_factory=list)
    false_leafs: list[int] = field(default_factory=list)
    missing_true: list[int] = field(default_factory=list)
    leaf_targets: list[int] = field(default_factory=list)
    leaf_weights: list[np.float32] = field(default_factory=list)

    def leaf(self, target: int, weight: float) -> int:
        self.leaf_targets.append(target)
        self.leaf_weights.append(np.float32(weight))
        return len(self.leaf_targets) - 1

    def node(self, feature: int, split: np.float32, *, missing_true: bool) -> int:
        self.features.append(feature)
        self.splits.append(split)
        self.missing_true.append(int(missing_true))
        for branch in (self.true_ids, self.true_leafs, self.false_ids, self.false_leafs):
            branch.append(0)
        return len(self.features) - 1

    def link(self, node: int, when_true: tuple[int, bool], when_false: tuple[int, bool]) -> None:
        self.true_ids[node], self.true_leafs[node] = when_true[0], int(when_true[1])
        self.false_ids[node], self.false_leafs[node] = when_false[0], int(when_false[1])

    def root(self, start: tuple[int, bool]) -> None:
        """Begin a tree; a tree of one leaf becomes a node with twice the same leaf."""
        if start[1]:
            node = self.node(0, np.float32(0.0), missing_true=True)
            self.link(node, start, start)
            start = (node, False)
        self.roots.append(start[0])


def lightgbm_to_onnx(booster: Any, features: int) -> onnx.ModelProto:
    """Return features [N, F] -> margins [N, 3]; UnsupportedTree when it would not be exact."""
    forest = _Forest(mode=_LEQ)
    for tree in booster.dump_model()["tree_info"]:
        target = int(tree["tree_index"]) % CLASSES
        forest.root(_lightgbm_branch(forest, tree["tree_structure"], target))
    return _model(forest, features, np.zeros(CLASSES, dtype=np.float32))


def _lightgbm_branch(forest: _Forest, part: Mapping[str, Any], target: int) -> tuple[int, bool]:
    if "leaf_value" in part:
        return forest.leaf(target, float(part["leaf_value"])), True
    if part["decision_type"] != "<=" or part["missing_type"] not in ("None", "NaN"):
        raise UnsupportedTree(f"split {part['decision_type']} with {part['missing_type']}")
    threshold = float(part["threshold"])
    reads_zero = part["missing_type"] == "None"
    missing_true = threshold >= 0.0 if reads_zero else bool(part["default_left"])
    node = forest.node(
        int(part["split_feature"]), float32_floor(threshold), missing_true=missing_true
    )
    left = _lightgbm_branch(forest, part["left_child"], target)
    right = _lightgbm_branch(forest, part["right_child"], target)
    forest.link(node, left, right)
    return node, False


def xgboost_to_onnx(booster: Any, features: int) -> onnx.ModelProto:
    """Return features [N, F] -> margins [N, 3]; all boosted rounds are taken."""
    learner = json.loads(booster.save_raw("json"))["learner"]
    model = learner["gradient_booster"]["model"]
    forest = _Forest(mode=_LT)
    for tree, target in zip(model["trees"], model["tree_info"], strict=True):
        if any(tree["split_type"]):
            raise UnsupportedTree("categorical split")
        forest.root(_xgboost_branch(forest, tree, 0, int(target)))
    base = np.array(json.loads(learner["learner_model_param"]["base_score"]), dtype=np.float32)
    return _model(forest, features, np.broadcast_to(base, (CLASSES,)))


def _xgboost_branch(
    forest: _Forest, tree: Mapping[str, Any], index: int, target: int
) -> tuple[int, bool]:
    left = int(tree["left_children"][index])
    value = float(tree["split_conditions"][index])
    if left == -1:
        return forest.leaf(target, value), True
    node = forest.node(
        int(tree["split_indices"][index]),
        np.float32(value),
        missing_true=bool(tree["default_left"][index]),
    )
    when_true = _xgboost_branch(forest, tree, left, target)
    when_false = _xgboost_branch(forest, tree, int(tree["right_children"][index]), target)
    forest.link(node, when_true, when_false)
    return node, False


def _model(forest: _Forest, features: int, base: npt.NDArray[np.float32]) -> onnx.ModelProto:
    count = len(forest.features)
    ensemble = helper.make_node(
        "TreeEnsemble",
        ["features"],
        ["sums"],
        domain="ai.onnx.ml",
        n_targets=CLASSES,
        aggregate_function=1,
        post_transform=0,
        tree_roots=forest.roots,
        nodes_featureids=forest.features,
        nodes_truenodeids=forest.true_ids,
        nodes_trueleafs=forest.true_leafs,
        nodes_falsenodeids=forest.false_ids,
        nodes_falseleafs=forest.false_leafs,
        nodes_missing_value_tracks_true=forest.missing_true,
        leaf_targetids=forest.leaf_targets,
        nodes_splits=helper.make_tensor(
            "splits", TensorProto.FLOAT, [count], np.array(forest.splits)
        ),
        nodes_modes=helper.make_tensor("modes", TensorProto.UINT8, [count], [forest.mode] * count),
        leaf_weights=helper.make_tensor(
            "weights", TensorProto.FLOAT, [len(forest.leaf_weights)], np.array(forest.leaf_weights)
        ),
    )
    graph = helper.make_graph(
        [ensemble, helper.make_node("Add", ["sums", "base"], ["margins"])],
        "trees",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", features])],
        [helper.make_tensor_value_info("margins", TensorProto.FLOAT, ["N", CLASSES])],
        [helper.make_tensor("base", TensorProto.FLOAT, [CLASSES], base)],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
