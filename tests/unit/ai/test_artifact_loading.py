"""An artifact is what its manifest says, or it is not loaded."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from services.ai.artifact import ArtifactRefused, active_folder, load
from services.ai.settings import SHIPPED_MODELS

SHIPPED = active_folder(SHIPPED_MODELS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / SHIPPED.name
    copy.mkdir()
    for file in SHIPPED.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def replace(folder: Path, name: str, key: str, content: bytes) -> None:
    """Put other bytes there, with a manifest that vouches for them."""
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit_manifest(folder, lambda manifest: manifest.update({key: digest}))


def test_the_shipped_artifact_is_sound_and_small() -> None:
    loaded = load(SHIPPED)
    assert loaded.manifest.version == SHIPPED.name
    assert (SHIPPED / "model.onnx").stat().st_size < 3_000_000
    assert {share for share, _ in loaded.manifest.confidence_quantiles} >= {
        0.2, 0.1, 0.05, 0.02, 0.01,
    }  # fmt: skip


def test_every_shipped_artifact_loads() -> None:
    """Incident 106: whatever lies there is loaded by the libraries that are installed."""
    for folder in SHIPPED_MODELS.iterdir():
        if folder.is_dir():
            assert load(folder).manifest.version == folder.name


def test_the_shipped_artifact_holds_the_four_models_with_their_default_shares() -> None:
    manifest = load(SHIPPED).manifest
    assert manifest.models == ("lightgbm", "xgboost", "nhits", "patchtst")
    assert manifest.weights == (0.25, 0.25, 0.30, 0.20)
    assert 0 < manifest.high_volatility_atr < 0.1


def test_the_shipped_manifest_tells_how_it_was_made() -> None:
    manifest = json.loads((SHIPPED / "manifest.json").read_text())
    assert manifest["command"].startswith("qt models train")
    assert manifest["training"]["symbols"]
    assert manifest["metrics"]["held_out"]["scores"]["ensemble"]
    walked = manifest["metrics"]["walk_forward"]
    assert {"always_hold", "last_direction", "volatility_bins", "logistic_regression"} <= set(
        walked
    )
    assert manifest["metrics"]["walk_forward_trades"]["ensemble"]["trades"] > 0
    assert manifest["calibration"]["ensemble"]["error"] < 0.05


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_one_flipped_bit_is_refused(folder: Path, name: str, place: float) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(len(content) * place)] ^= 4
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactRefused, match="SHA-256"):
        load(folder)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "golden.npz"])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactRefused, match=name):
        load(folder)


def test_a_truncated_file_is_refused_even_when_its_hash_is_vouched_for(folder: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    replace(folder, "model.onnx", "sha256", content[: len(content) // 2])
    with pytest.raises(ArtifactRefused):
        load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", ["up", "flat", "down"]),
        ("columns", ["close", "open", "high", "low", "volume"]),
        ("weights", [0.5, 0.6]),
        ("weights", [1.0]),
        ("models", ["lightgbm"]),
        ("confidence_quantiles", {"0.05": 0.4, "0.1": 0.5}),
        ("confidence_quantiles", {"0.05": 1.05}),
        ("confidence_quantiles", {}),
        ("feature_names", ["one"]),
        ("window", 64),
        ("golden_sha256", "0" * 64),
        ("training", {}),
    ],
)
def test_a_manifest_that_contradicts_the_graph_is_refused(
    folder: Path, key: str, value: object
) -> None:
    """Incident 94: a model with other features than it is said to have is not loaded."""
    edit_manifest(folder, lambda manifest: manifest.update({key: value}))
    with pytest.raises(ArtifactRefused):
        load(folder)


def test_a_manifest_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "manifest.json").write_text("version: 1")
    with pytest.raises(ArtifactRefused):
        load(folder)


def test_a_model_that_answers_otherwise_than_when_it_was_made_is_refused(folder: Path) -> None:
    with np.load(folder / "golden.npz") as golden:
        answers = {name: golden[name] for name in golden.files}
    answers["probs"] = answers["probs"] + np.float32(0.001)
    buffer = io.BytesIO()
    np.savez(buffer, **answers)
    replace(folder, "golden.npz", "golden_sha256", buffer.getvalue())
    with pytest.raises(ArtifactRefused, match="golden answer probs"):
        load(folder)


def test_operators_of_foreign_domains_are_refused(folder: Path) -> None:
    model = onnx.load_model_from_string((folder / "model.onnx").read_bytes())
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    replace(folder, "model.onnx", "sha256", model.SerializeToString())
    with pytest.raises(ArtifactRefused, match="foreign domains"):
        load(folder)


def test_weights_that_a_simplifier_froze_are_refused(folder: Path) -> None:
    """The fourth silent trap: tools that drop overridable initialisers from the inputs."""
    model = onnx.load_model_from_string((folder / "model.onnx").read_bytes())
    del model.graph.input[1:]
    replace(folder, "model.onnx", "sha256", model.SerializeToString())
    with pytest.raises(ArtifactRefused, match="run-time inputs"):
        load(folder)


def test_the_active_version_is_named_and_never_guessed(tmp_path: Path) -> None:
    """Incident 99: a newer file that lies around is not what is loaded."""
    (tmp_path / "zzz-newest").mkdir()
    (tmp_path / "zzz-newest" / "model_scaler.onnx").write_bytes(b"x")
    with pytest.raises(ArtifactRefused, match="ACTIVE cannot be read"):
        active_folder(tmp_path)
    (tmp_path / "ACTIVE").write_text("v1\n")
    assert active_folder(tmp_path) == tmp_path / "v1"


@pytest.mark.parametrize("text", ["", "../elsewhere", ".hidden", "a/b"])
def test_an_active_file_that_names_no_version_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "ACTIVE").write_text(text)
    with pytest.raises(ArtifactRefused, match="does not name a version"):
        active_folder(tmp_path)
