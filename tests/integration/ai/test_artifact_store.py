"""Artifacts in the object store of a real bus: written once, read as they were written."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from services.ai.artifact import active_folder
from services.ai.core.artifact_summary import read_summary, summary_of
from services.ai.settings import SHIPPED_MODELS
from services.catalog.subjects import MODELS_BUCKET
from services.kit.bus.bus import Bus
from services.kit.bus.objects import ObjectExists, Objects
from services.kit.folders import pack
from services.lab.training import shelf
from services.lab.training.shelf import BadArtifact, Shelved

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def renamed(version: str) -> Shelved:
    """Return the shipped artifact under another version."""
    found = shelf.read_folder(active_folder(SHIPPED_MODELS))
    manifest = json.loads(found.files[shelf.MANIFEST]) | {"version": version}
    files = {**found.files, shelf.MANIFEST: json.dumps(manifest).encode()}
    return shelf.shelved(files, "test")


async def test_an_artifact_is_stored_once_and_comes_back_as_it_was(bus: Bus) -> None:
    """Incidents 94 and 99: a version names one artifact for ever."""
    mine = renamed("stored-1")
    assert await shelf.store(bus, mine, NOW)
    assert not await shelf.store(bus, mine, NOW), "the same again is no change"
    assert await shelf.fetch(bus, "stored-1") == mine
    assert await shelf.fetch(bus, "unknown") is None
    other = Shelved(mine.manifest, {**mine.files, shelf.REPORT: b"another report"})
    with pytest.raises(ObjectExists):
        await shelf.store(bus, other, NOW)
    assert await shelf.fetch(bus, "stored-1") == mine
    objects = Objects(bus, MODELS_BUCKET)
    await objects.follow()
    assert read_summary(objects.known["stored-1"].metadata) == summary_of(mine.manifest)


async def test_an_object_that_is_no_artifact_is_refused(bus: Bus) -> None:
    objects = Objects(bus, MODELS_BUCKET)
    mine = renamed("stored-2")
    without = {name: data for name, data in mine.files.items() if name != shelf.GOLDEN}
    await objects.put("broken-1", b"nonsense", {}, NOW)
    await objects.put("broken-2", pack(without), {}, NOW)
    with pytest.raises(BadArtifact, match="broken-1"):
        await shelf.fetch(bus, "broken-1")
    with pytest.raises(BadArtifact, match=r"golden\.npz is missing"):
        await shelf.fetch(bus, "broken-2")
