"""Load a model artifact, and believe nothing about it that was not checked."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from services.ai.core.manifest import COLUMNS, BadManifest, Manifest, parse_manifest
from services.ai.core.windows import CAPACITY
from services.ai.inference import OUTPUTS, new_session
from services.kit.folders import BadFolder, unpack

ACTIVE = "ACTIVE"
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
_NAMES = ("manifest.json", "model.onnx", "golden.npz")


class ArtifactRefused(Exception):
    """The artifact is not loaded; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A verified artifact."""

    manifest: Manifest
    session: ort.InferenceSession
    folder: Path | None
    """Where its files lie; None when they came from the registry, whose objects never change."""
    fingerprint: tuple[tuple[int, int], ...]
    """Size and change time of each of its files when they were read."""


def active_folder(models: Path) -> Path:
    """Return the folder that `ACTIVE` names. Nothing is ever guessed from what lies around."""
    try:
        version = (models / ACTIVE).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ArtifactRefused(f"{models / ACTIVE} cannot be read: {error.strerror}") from error
    if not version or "/" in version or version.startswith("."):
        raise ArtifactRefused(f"{models / ACTIVE} does not name a version: {version!r}")
    return models / version


def fingerprint(folder: Path) -> tuple[tuple[int, int], ...]:
    """Return what changes when one of the artifact's files does; ArtifactRefused if one is gone."""
    try:
        stats = [(folder / name).stat() for name in _NAMES]
    except OSError as error:
        raise ArtifactRefused(f"{error.filename}: {error.strerror}") from error
    return tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)


def load(folder: Path) -> LoadedModel:
    """Read, verify and open an artifact; ArtifactRefused says why not. Blocks."""
    seen = fingerprint(folder)
    try:
        files = {name: (folder / name).read_bytes() for name in _NAMES}
    except OSError as error:
        raise ArtifactRefused(f"{folder}: {error}") from error
    manifest, session = _open(files, str(folder))
    return LoadedModel(manifest, session, folder, seen)


def load_stored(content: bytes, version: str) -> LoadedModel:
    """Verify and open an artifact of the registry; ArtifactRefused says why not. Blocks."""
    try:
        files = unpack(content)
    except BadFolder as error:
        raise ArtifactRefused(f"{version}: {error}") from error
    manifest, session = _open(files, version)
    if manifest.version != version:
        raise ArtifactRefused(f"{version}: its manifest says version {manifest.version}")
    return LoadedModel(manifest, session, None, ())


def _open(files: Mapping[str, bytes], place: str) -> tuple[Manifest, ort.InferenceSession]:
    """Verify the files of an artifact; `place` says in errors where they come from."""
    if missing := set(_NAMES) - set(files):
        raise ArtifactRefused(f"{place}: {', '.join(sorted(missing))} is missing")
    try:
        manifest = parse_manifest(files["manifest.json"])
    except BadManifest as error:
        raise ArtifactRefused(f"{place}: {error}") from error
    content, golden = files["model.onnx"], files["golden.npz"]
    _check_hash(f"{place}/model.onnx", content, manifest.sha256)
    _check_hash(f"{place}/golden.npz", golden, manifest.golden_sha256)
    _check_graph(content)
    try:
        session = new_session(content)
    except Exception as error:
        # ONNX Runtime's errors have no common class of their own.
        raise ArtifactRefused(f"{place}: {type(error).__name__}: {error}") from error
    _check_shapes(session, manifest)
    _check_golden(session, golden, manifest)
    return manifest, session


def _check_hash(place: str, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ArtifactRefused(f"{place}: SHA-256 is {found[:12]}..., the manifest says {expected}")


def _check_graph(content: bytes) -> None:
    import onnx  # kept out of the start of processes that never load an artifact

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:
        # protobuf's decode error differs between its implementations.
        raise ArtifactRefused(f"not an ONNX model: {error}") from error
    foreign = {opset.domain for opset in model.opset_import} - _DOMAINS
    if foreign:
        raise ArtifactRefused(f"operators of foreign domains {sorted(foreign)}")
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise ArtifactRefused("the model keeps data outside its file")


def _check_shapes(session: ort.InferenceSession, manifest: Manifest) -> None:
    if manifest.window > CAPACITY:
        raise ArtifactRefused(f"it reads {manifest.window} bars; {CAPACITY} are kept")
    models, features = len(manifest.models), len(manifest.feature_names)
    inputs = {i.name: (i.type, list(i.shape)[1:]) for i in session.get_inputs()}
    expected = {"window": ("tensor(float)", [manifest.window, len(COLUMNS)])}
    if inputs != expected:
        raise ArtifactRefused(f"inputs are {inputs}, the manifest says {expected}")
    knobs = {i.name: (i.type, list(i.shape)) for i in session.get_overridable_initializers()}
    known = {name: ("tensor(float)", [models]) for name in ("weights", "temperature")}
    if knobs != known:
        raise ArtifactRefused(f"run-time inputs are {knobs}, not {known}")
    outputs = {o.name: list(o.shape)[1:] for o in session.get_outputs()}
    shapes = dict(zip(OUTPUTS, ([], [features], [], [models, 3], [3]), strict=True))
    if outputs != shapes:
        raise ArtifactRefused(f"outputs are {outputs}, the manifest says {shapes}")


def _check_golden(session: ort.InferenceSession, content: bytes, manifest: Manifest) -> None:
    """Run the golden windows: right bytes can still be run wrongly by another ONNX Runtime."""
    golden: Any
    with np.load(io.BytesIO(content), allow_pickle=False) as golden:
        found = session.run(list(OUTPUTS), {"window": golden["window"]})
        for name, numbers in zip(OUTPUTS, found, strict=True):
            expected = golden[name]
            close = np.allclose(
                numbers.astype(np.float64),
                expected.astype(np.float64),
                rtol=manifest.golden_tolerance,
                atol=manifest.golden_tolerance,
                equal_nan=False,
            )
            if numbers.shape != expected.shape or not close:
                raise ArtifactRefused(f"golden answer {name} does not come out")
