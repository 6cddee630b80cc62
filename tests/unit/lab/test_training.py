"""A small training from candles to a checked artifact, twice the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from services.ai.artifact import load
from services.ai.core.manifest import parse_manifest
from services.ai.core.promotion_gate import gains
from services.lab.training import artifact, run
from services.lab.training.boosters import BoosterPlan
from services.lab.training.command import train
from services.lab.training.members import TREES, MemberPlan, NetPlan, have_torch
from services.lab.training.plan import TrainingPlan
from services.trade.barrier_label import LabelRule
from tests.unit.lab.generated_series import generated_series, write_csv

PLAN = TrainingPlan(
    every=4,
    folds=2,
    label=LabelRule(horizon=10, cost=0.0005, atr_multiple=1.5),
    members=MemberPlan(boosters=BoosterPlan(rounds=6, leaves=7, min_rows_in_leaf=20)),
)


def material() -> run.Material:
    return run.Material(
        [generated_series(5000), generated_series(5000, seed=4, symbol="BBBUSDT")],
        [generated_series(1500, seed=8, symbol="CCCUSDT")],
    )


def make(plan: TrainingPlan = PLAN, kept: Path | None = None) -> run.Trained:
    return run.train_artifact(material(), plan, "test", lambda *_: None, kept)


@pytest.fixture(scope="module")
def trained() -> run.Trained:
    return make()


def test_training_twice_gives_the_same_artifact(trained: run.Trained) -> None:
    again = make()
    assert again.content == trained.content
    assert again.golden == trained.golden
    assert again.manifest == trained.manifest


def test_the_service_loads_what_training_saved(trained: run.Trained, tmp_path: Path) -> None:
    folder = run.save(trained, tmp_path)
    loaded = load(folder)
    assert loaded.manifest.version == folder.name
    assert loaded.manifest.models == ("lightgbm", "xgboost")
    assert json.loads((folder / "manifest.json").read_text())["training"]["symbols"] == [
        "AAAUSDT",
        "BBBUSDT",
    ]


def test_metrics_stand_beside_their_baselines(trained: run.Trained) -> None:
    walked = trained.manifest["metrics"]["walk_forward"]
    assert {"always_hold", "last_direction", "volatility_bins", "logistic_regression"} <= set(
        walked
    )
    assert "ensemble" in walked
    for found in walked.values():
        assert 0.5 < found["log_loss"] < 1.5
    assert "95 % intervals" in trained.report
    quantiles = trained.manifest["confidence_quantiles"]
    assert {"0.2", "0.1", "0.05", "0.02", "0.01"} <= set(quantiles)


def test_nothing_is_learnt_from_noise(trained: run.Trained) -> None:
    """A random walk has no direction to find: a score that says otherwise looks ahead."""
    walked = trained.manifest["metrics"]["walk_forward"]
    assert 0.42 < walked["ensemble"]["direction_auc"] < 0.58
    manifest = parse_manifest(json.dumps(trained.manifest))
    assert not gains(manifest.fold_losses)["volatility_bins"].sure
    (first, *_) = trained.verdicts["walk forward"]
    assert "does not beat" in first or "no certainty" in first


class DependsOnPlace(artifact.Artifact):
    def run(self, windows: artifact.Floats, **knobs: artifact.Floats) -> artifact.Run:
        found = super().run(windows, **knobs)
        found["probs"] = found["probs"].copy()
        found["probs"][3] = np.nextafter(found["probs"][3], np.float32(1))
        return found


def test_an_artifact_whose_rows_depend_on_their_place_is_refused(trained: run.Trained) -> None:
    windows = artifact.generated_windows(artifact.LARGEST_BATCH)
    artifact.check_rows(artifact.Artifact(trained.content), windows)
    with pytest.raises(artifact.ArtifactRefused, match="probs of a row differs"):
        artifact.check_rows(DependsOnPlace(trained.content), windows)


def test_weights_and_temperature_can_be_set_at_run_time(trained: run.Trained) -> None:
    graph = artifact.Artifact(trained.content)
    windows = artifact.generated_windows(8)
    default = graph.run(windows)
    first = graph.run(windows, weights=np.array([1, 0], dtype=np.float32))
    assert np.array_equal(first["probs"], default["model_probs"][:, 0])
    mean = default["model_probs"].mean(axis=1)
    assert np.allclose(default["probs"], mean, atol=1e-6)
    out = graph.run(windows, weights=np.array([0, 3], dtype=np.float32))
    assert np.array_equal(out["probs"], default["model_probs"][:, 1])
    warm = graph.run(windows, temperature=np.array([9, 9], dtype=np.float32))
    assert warm["probs"].std() < default["probs"].std()


@pytest.fixture
def command() -> Typer:
    app = Typer()
    app.command()(train)
    return app


def test_the_command_trains_shows_and_activates(command: Typer, tmp_path: Path) -> None:
    candles = write_csv(generated_series(4000), tmp_path / "AAAUSDT_1m.csv")
    out = tmp_path / "models"
    options = "--every 6 --rounds 3 --leaves 5 --folds 2 --horizon 5 --barrier 1 --activate"
    kept = tmp_path / "kept"
    places = ["--data", str(candles), "--out", str(out), "--kept", str(kept)]
    result = CliRunner().invoke(command, [*places, "--trees-only", *options.split()])
    assert result.exit_code == 0, result.output
    version = (out / "ACTIVE").read_text().strip()
    assert load(out / version).manifest.version == version
    assert "In log-loss the ensemble" in result.output
    assert len(list(kept.glob("*/fold-?.npz"))) == 2
    page = (out / version / "report.html").read_text()
    assert page.count("<svg") >= 3
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_command_says_what_is_wrong_with_the_data(command: Typer, tmp_path: Path) -> None:
    broken = tmp_path / "x_1m.csv"
    broken.write_text("time,price\n1,2\n")
    result = CliRunner().invoke(command, ["--data", str(broken), "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "cannot train" in result.output


class Stopped(Exception):
    """What ends a training in the middle."""


def stop_after(fits: int) -> run.Report:
    """Return a report that raises as soon as so many fits are finished."""
    done = {"fits": 0}

    def report(stage: str, more: int, total: int) -> None:
        done["fits"] += more if stage in ("walk forward", "final fit") else 0
        if done["fits"] >= fits:
            raise Stopped

    return report


@pytest.mark.parametrize(
    ("fits", "kept"),
    [
        (3, ["fold-0", "fold-0.lightgbm", "fold-0.xgboost", "fold-1.lightgbm"]),
        (5, ["final.lightgbm", "fold-0", "fold-1"]),
    ],
)
def test_a_training_that_is_stopped_goes_on_with_the_next_fit(
    tmp_path: Path, trained: run.Trained, fits: int, kept: list[str]
) -> None:
    """What was fitted is read, not fitted again, and the artifact is the same to the last bit."""
    with pytest.raises(Stopped):
        run.train_artifact(material(), PLAN, "test", stop_after(fits), tmp_path)
    (folder,) = tmp_path.iterdir()
    before = {file.stem: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert set(kept) <= set(before)
    assert sum("." in name for name in before) == fits
    again = make(kept=tmp_path)
    after = {file.stem: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert {name: after[name] for name in before} == before
    assert (again.content, again.golden, again.manifest) == (
        trained.content,
        trained.golden,
        trained.manifest,
    )


def test_a_kept_fit_is_used_and_one_that_cannot_be_read_is_made_again(
    tmp_path: Path, trained: run.Trained
) -> None:
    """A fit cut short is made anew; one that another fit was put in the place of is found out."""
    make(kept=tmp_path)
    (folder,) = tmp_path.iterdir()
    names = {f"fold-{n}{m}" for n in (0, 1) for m in ("", ".lightgbm", ".xgboost")}
    assert {f.stem for f in folder.iterdir()} == names | {"final.lightgbm", "final.xgboost"}
    for name in ("fold-1", "fold-1.xgboost", "final.lightgbm"):
        whole = (folder / f"{name}.npz").read_bytes()
        (folder / f"{name}.npz").write_bytes(whole[: len(whole) // 2])
    assert make(kept=tmp_path).manifest == trained.manifest
    with np.load(folder / "final.lightgbm.npz") as stored:
        model, said = stored["model"], stored["said"]
    np.savez(folder / "final.lightgbm.npz", model=model, said=said[::-1])
    with pytest.raises(artifact.ArtifactRefused, match="lightgbm differs from its library"):
        make(kept=tmp_path)


def test_other_choices_go_on_with_nothing(tmp_path: Path) -> None:
    make(kept=tmp_path)
    make(replace(PLAN, folds=1), kept=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_four_models_are_one_artifact_that_needs_no_torch(tmp_path: Path) -> None:
    if not have_torch():
        pytest.skip("the extra [deep] is not installed")
    members = MemberPlan(
        models=("lightgbm", "xgboost", "nhits", "patchtst"),
        boosters=BoosterPlan(rounds=4, leaves=5, min_rows_in_leaf=20),
        networks=NetPlan(epochs=1, hidden=16, width=8),
    )
    made = make(replace(PLAN, members=members))
    loaded = load(run.save(made, tmp_path))
    assert loaded.manifest.models == members.models
    assert loaded.manifest.weights == (0.25, 0.25, 0.30, 0.20)
    assert members.models[:2] == TREES
