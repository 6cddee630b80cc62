"""Artifacts as files and in the registry: found, checked, stored."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from services.ai.core.artifact_summary import summary_of, write_summary
from services.ai.core.manifest import BadManifest, Manifest, parse_manifest
from services.catalog.subjects import MODELS_BUCKET
from services.kit.bus.bus import Bus
from services.kit.bus.objects import Objects
from services.kit.folders import BadFolder, pack, unpack
from services.lab.training.artifact import (
    LARGEST_BATCH,
    Artifact,
    check_finite,
    check_rows,
    generated_windows,
)
from services.trade.barrier_label import LabelRule

MANIFEST, GRAPH, GOLDEN, REPORT = "manifest.json", "model.onnx", "golden.npz", "report.html"
_NEEDED = (MANIFEST, GRAPH, GOLDEN)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class BadArtifact(ValueError):
    """The files are no artifact, or not the one that they say; the message names what is wrong."""


@dataclass(frozen=True, slots=True)
class Shelved:
    """An artifact's files, with a manifest whose hashes they have."""

    manifest: Manifest
    files: Mapping[str, bytes]


def shelved(files: Mapping[str, bytes], place: str) -> Shelved:
    """Check that the files are what the manifest says; BadArtifact otherwise."""
    if missing := [name for name in _NEEDED if name not in files]:
        raise BadArtifact(f"{place}: {', '.join(missing)} is missing")
    try:
        manifest = parse_manifest(files[MANIFEST])
    except BadManifest as error:
        raise BadArtifact(f"{place}: {error}") from error
    if not _VERSION.fullmatch(manifest.version):
        raise BadArtifact(f"{place}: {manifest.version!r} is no version")
    for name, expected in ((GRAPH, manifest.sha256), (GOLDEN, manifest.golden_sha256)):
        if hashlib.sha256(files[name]).hexdigest() != expected:
            raise BadArtifact(f"{place}/{name} is not what its manifest says: SHA-256 differs")
    return Shelved(manifest, files)


def read_folder(folder: Path) -> Shelved:
    """Read an artifact's folder; BadArtifact says why not."""
    try:
        names = [*_NEEDED, *([REPORT] if (folder / REPORT).is_file() else [])]
        files = {name: (folder / name).read_bytes() for name in names}
    except OSError as error:
        raise BadArtifact(f"{error.filename}: {error.strerror}") from error
    return shelved(files, str(folder))


def find(version: str, folders: Sequence[Path]) -> Shelved | None:
    """Return the artifact of a version from the first folder that has it."""
    for folder in folders:
        if (folder / version / MANIFEST).is_file():
            return read_folder(folder / version)
    return None


def label_rule(artifact: Shelved) -> LabelRule:
    """Return the rule of the labels that it was trained on, as far as its manifest says."""
    told = json.loads(artifact.files[MANIFEST])["label"]
    held = LabelRule()
    return LabelRule(
        horizon=int(told["horizon"]),
        cost=float(told.get("cost", held.cost)),
        atr_multiple=float(told.get("atr_multiple", held.atr_multiple)),
    )


def same_labels(first: Shelved, second: Shelved) -> bool:
    """Tell whether both were trained on the same kind of label."""
    told = [json.loads(each.files[MANIFEST])["label"] for each in (first, second)]
    return bool(told[0] == told[1])


def check(artifact: Shelved) -> None:
    """Run the checks that an artifact passes when it is made; ValueError says what fails."""
    try:
        graph = Artifact(artifact.files[GRAPH])
    except Exception as error:
        # ONNX Runtime's errors have no common class of their own.
        raise BadArtifact(f"{artifact.manifest.version}: {error}") from error
    windows = generated_windows(LARGEST_BATCH)
    check_rows(graph, windows)
    check_finite(graph, windows)


async def store(bus: Bus, artifact: Shelved, now: datetime) -> bool:
    """Store an artifact; False when it is stored already, ObjectExists when another one is."""
    manifest = artifact.manifest
    summary = write_summary(summary_of(manifest))
    objects = Objects(bus, MODELS_BUCKET)
    return await objects.put(manifest.version, pack(artifact.files), summary, now)


async def fetch(bus: Bus, version: str) -> Shelved | None:
    """Return a stored artifact; None when there is none of this version."""
    content = await Objects(bus, MODELS_BUCKET).get(version)
    if content is None:
        return None
    try:
        return shelved(unpack(content), version)
    except BadFolder as error:
        raise BadArtifact(f"{version}: {error}") from error
