"""An artifact from its folder is what its manifest says, or it is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from services.ai.settings import SHIPPED_MODELS
from services.lab.training import shelf
from services.lab.training.shelf import BadArtifact, Shelved
from services.trade.barrier_label import LabelRule

FOUR, TREES = sorted(folder for folder in SHIPPED_MODELS.iterdir() if folder.is_dir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TREES, tmp_path / TREES.name))


@pytest.mark.parametrize("place", [FOUR, TREES], ids=lambda p: p.name)
def test_what_ships_is_read_with_its_report_where_it_has_one(place: Path) -> None:
    found = shelf.read_folder(place)
    assert found.manifest.version == place.name
    assert (shelf.REPORT in found.files) == (place / shelf.REPORT).is_file()


@pytest.mark.parametrize("name", [shelf.GRAPH, shelf.GOLDEN])
def test_a_file_that_is_not_what_the_manifest_says_is_refused(folder: Path, name: str) -> None:
    """Incident 99: the files of another model are not taken for this one's."""
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BadArtifact, match=f"{name} is not what its manifest says"):
        shelf.read_folder(folder)


@pytest.mark.parametrize("name", [shelf.MANIFEST, shelf.GRAPH, shelf.GOLDEN])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    files = dict(shelf.read_folder(folder).files)
    (folder / name).unlink()
    with pytest.raises(BadArtifact, match=f"{name}: No such file"):
        shelf.read_folder(folder)
    del files[name]
    with pytest.raises(BadArtifact, match=f"here: {name} is missing"):
        shelf.shelved(files, "here")


@pytest.mark.parametrize("version", ["", "../elsewhere", ".hidden", "a b", "a/b"])
def test_a_version_is_a_name_that_a_folder_and_an_object_may_have(
    folder: Path, version: str
) -> None:
    manifest = json.loads((folder / shelf.MANIFEST).read_text()) | {"version": version}
    (folder / shelf.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BadArtifact):
        shelf.read_folder(folder)


def test_the_first_folder_that_has_a_version_counts(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    assert shelf.find(TREES.name, [empty]) is None
    mine = folder / shelf.REPORT
    mine.write_text("mine")
    found = shelf.find(TREES.name, [empty, folder.parent, SHIPPED_MODELS])
    assert found is not None
    assert found.files[shelf.REPORT] == b"mine"


def with_label(label: object) -> Shelved:
    found = shelf.read_folder(TREES)
    manifest = json.loads(found.files[shelf.MANIFEST]) | {"label": label}
    return Shelved(found.manifest, {**found.files, shelf.MANIFEST: json.dumps(manifest).encode()})


def test_the_rule_of_the_labels_is_read_as_far_as_it_is_told() -> None:
    """Incident 103: an artifact is held against the label that it was taught."""
    whole = with_label({"horizon": 9, "cost": 0.002, "atr_multiple": 3.5})
    assert shelf.label_rule(whole) == LabelRule(horizon=9, cost=0.002, atr_multiple=3.5)
    old = with_label({"horizon": 9})
    assert shelf.label_rule(old) == LabelRule(horizon=9)
    assert shelf.same_labels(whole, whole)
    assert not shelf.same_labels(whole, old)


def test_an_artifact_is_checked_as_when_it_was_made() -> None:
    """Incident 106: what the installed libraries cannot run is told, not stored."""
    whole = shelf.read_folder(TREES)
    shelf.check(whole)
    broken = Shelved(whole.manifest, {**whole.files, shelf.GRAPH: b"no graph"})
    with pytest.raises(BadArtifact, match=whole.manifest.version):
        shelf.check(broken)
