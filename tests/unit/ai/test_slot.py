"""The slot: which artifact answers which candle, and what a bad one changes (nothing)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.ai.artifact import active_folder
from services.ai.core.pointers import SHIPPED, Wanted
from services.ai.settings import SHIPPED_MODELS
from services.ai.slot import GateSettings, ModelSlot, UnknownArtifact, tell_excluded
from services.kit.clock import SystemClock
from services.kit.folders import pack
from services.kit.health import Components
from services.kit.observe.metrics import Metrics

FILES = ("manifest.json", "model.onnx", "golden.npz")
FIRST = active_folder(SHIPPED_MODELS).name
T = 1_900_000_000_000


def packed(version: str, change: Callable[[dict[str, bytes]], None] | None = None) -> bytes:
    """Return the shipped artifact under another version, as the registry holds it."""
    files = {name: (SHIPPED_MODELS / FIRST / name).read_bytes() for name in FILES}
    manifest: dict[str, Any] = json.loads(files["manifest.json"])
    files["manifest.json"] = json.dumps(manifest | {"version": version}).encode()
    if change is not None:
        change(files)
    return pack(files)


class Store:
    """Artifacts by version, and how often each was asked for."""

    def __init__(self, **artifacts: bytes) -> None:
        self.artifacts = artifacts
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self, version: str) -> bytes | None:
        self.asked.append(version)
        await self.open.wait()
        return self.artifacts.get(version)


class Held:
    """A slot with what it reports to."""

    def __init__(self, store: Store) -> None:
        self.components = Components()
        self.degraded: dict[str, str] = {}
        self.metrics = Metrics("test_")
        self.slot = ModelSlot(
            models=SHIPPED_MODELS,
            gate=GateSettings(floor=None, ttl_seconds=300),
            components=self.components,
            metrics=self.metrics,
            clock=SystemClock(),
            degraded=self.degraded,
        )
        self.slot.fetch_from(store.fetch)

    def version(self, close_time: int) -> str:
        found = self.slot.answers(close_time)
        return found.manifest.version if found else ""


async def test_each_candle_is_answered_by_the_artifact_that_held_at_its_close() -> None:
    held = Held(Store(b=packed("b"), c=packed("c")))
    await held.slot.refresh()
    assert held.version(T) == FIRST
    held.slot.want([Wanted(0, FIRST), Wanted(T + 2, "b"), Wanted(T + 4, "c")], None)
    await held.slot.refresh()
    assert [held.version(T + n) for n in range(6)] == [FIRST, FIRST, "b", "b", "c", "c"]
    assert held.version(T + 1) == FIRST, "a late candle is answered by the one that held then"
    assert held.slot.manifest is not None
    assert held.slot.manifest.version == "c"


async def test_candles_wait_for_an_artifact_that_is_being_loaded_and_those_before_do_not() -> None:
    store = Store(b=packed("b"))
    held = Held(store)
    await held.slot.refresh()
    store.open.clear()
    held.slot.want([Wanted(0, FIRST), Wanted(T, "b")], None)
    loading = asyncio.create_task(held.slot.refresh())
    await asyncio.sleep(0.01)
    assert held.version(T) == ""
    assert held.version(T - 1) == FIRST
    store.open.set()
    await loading
    assert held.version(T) == "b"


async def test_a_way_back_is_not_answered_by_what_is_taken_away() -> None:
    """Between the pointer and its loading no candle goes to the artifact that was rolled back."""
    held = Held(Store(b=packed("b")))
    held.slot.want([Wanted(0, FIRST), Wanted(T, "b")], None)
    await held.slot.refresh()
    held.slot.want([Wanted(0, FIRST), Wanted(T, "b"), Wanted(T + 5, FIRST)], None)
    assert held.version(T + 5) == ""
    assert held.version(T + 4) == "b"
    await held.slot.refresh()
    assert held.version(T + 5) == FIRST


def corrupt(files: dict[str, bytes]) -> None:
    content = bytearray(files["model.onnx"])
    content[len(content) // 2] ^= 1
    files["model.onnx"] = bytes(content)


def without_golden(files: dict[str, bytes]) -> None:
    del files["golden.npz"]


def wrong_answer(files: dict[str, bytes]) -> None:
    manifest = json.loads(files["manifest.json"])
    files["manifest.json"] = json.dumps(manifest | {"feature_names": ["one"]}).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (packed("b", corrupt), "SHA-256"),
        (packed("b", wrong_answer), "outputs are"),
        (packed("other"), "its manifest says version other"),
        (packed("b", without_golden), "golden.npz is missing"),
        (b"nonsense", "not a packed folder"),
        (b"", "empty file"),
    ],
)
async def test_a_bad_artifact_is_not_loaded_and_the_old_one_goes_on(
    content: bytes, said: str
) -> None:
    """Incidents 94, 99: what does not verify never answers; health tells of it."""
    store = Store(b=content)
    held = Held(store)
    await held.slot.refresh()
    held.slot.want([Wanted(0, FIRST), Wanted(T, "b")], None)
    await held.slot.refresh()
    assert held.version(T + 1) == FIRST
    assert said in held.degraded["models"]
    assert held.components.is_ready("models")
    await held.slot.refresh()
    assert store.asked.count("b") == 1, "it is not fetched every two seconds"
    store.artifacts["b"] = packed("b")
    await held.slot.reload()
    assert held.version(T + 1) == "b"
    assert not held.degraded


async def test_models_that_drift_degrade_the_health_when_no_signal_is_left() -> None:
    """Incident 101: signals never end without a word, not even for two seconds."""
    held = Held(Store(bad=b""))
    tell_excluded(held.degraded, {"patchtst": "drifting"}, 4)
    assert held.degraded == {}, "three of four can still agree"
    tell_excluded(held.degraded, {"patchtst": "drifting", "nhits": "one_sided"}, 4)
    await held.slot.refresh()
    assert held.degraded == {"ensemble": "excluded: nhits one_sided, patchtst drifting"}
    held.slot.want([SHIPPED], Wanted(T, "bad"))
    await held.slot.refresh()
    assert set(held.degraded) == {"ensemble", "models"}
    tell_excluded(held.degraded, {}, 4)
    assert set(held.degraded) == {"models"}


async def test_the_effective_weights_are_exported_and_no_others() -> None:
    """Incident 96: four shares of 25 % were reported while one model voted."""
    held = Held(Store())
    await held.slot.refresh()
    manifest = held.slot.manifest
    assert manifest is not None

    def exported() -> list[float | None]:
        get = held.metrics.registry.get_sample_value
        return [get("test__model_weight", {"model": name}) for name in manifest.models]

    assert exported() == list(manifest.weights)
    used = (0.5, 0.5, 0.0, 0.0)
    held.slot.show(manifest, used)
    assert exported() == list(used)
    assert held.slot.weights == used


async def test_an_artifact_with_another_hash_than_the_pointer_says_is_refused() -> None:
    held = Held(Store(b=packed("b")))
    await held.slot.refresh()
    held.slot.want([Wanted(0, FIRST), Wanted(T, "b", "f" * 64)], None)
    await held.slot.refresh()
    assert held.version(T) == FIRST
    assert "the pointer says ffff" in held.degraded["models"]


async def test_what_is_no_longer_needed_may_be_gone() -> None:
    held = Held(Store(b=packed("b")))
    held.slot.want([Wanted(0, "of-an-older-build"), Wanted(T, "b")], None)
    await held.slot.refresh()
    assert held.version(T - 1) == "b"
    assert not held.degraded


async def test_a_shadow_that_is_refused_changes_no_answer() -> None:
    held = Held(Store(b=packed("b"), bad=b""))
    held.slot.want([SHIPPED], Wanted(T, "bad"))
    await held.slot.refresh()
    assert held.slot.shadow is None
    assert held.version(T) == FIRST
    assert "shadow" in held.degraded["models"]
    held.slot.want([SHIPPED], Wanted(T, "b"))
    await held.slot.refresh()
    assert held.slot.shadow is not None
    assert held.version(T) == FIRST
    assert not held.degraded


async def test_the_shadow_becomes_active_without_being_fetched_again() -> None:
    store = Store(b=packed("b"))
    held = Held(store)
    held.slot.want([SHIPPED], Wanted(T, "b"))
    await held.slot.refresh()
    held.slot.want([Wanted(0, FIRST), Wanted(T, "b")], Wanted(T, "b"))
    await held.slot.refresh()
    assert held.version(T) == "b"
    assert store.asked.count("b") == 1


async def test_a_version_that_nobody_has_is_unknown() -> None:
    held = Held(Store())
    with pytest.raises(UnknownArtifact, match="there is no artifact nowhere"):
        await held.slot.obtain("nowhere")


async def test_what_ships_with_the_service_needs_no_registry() -> None:
    other = next(p.name for p in SHIPPED_MODELS.iterdir() if p.is_dir() and p.name != FIRST)
    held = Held(Store())
    assert (await held.slot.obtain(other)).manifest.version == other
    assert Path(SHIPPED_MODELS / other).is_dir()
