"""`python -m services.lab.training.job FOLDER`: train on candles.npz by plan.json, for the trainer.

Says how far it is in lines of JSON, and last what it made: the artifact lies in FOLDER/out, and
finished fits in FOLDER/kept, from which the same call goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ONE_THREAD = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_STEPS = {"rows": (0.0, 0.2), "walk forward": (0.2, 0.6), "final fit": (0.8, 0.15)}
"""Where a step begins and how much of the whole it is."""
_SAY_EVERY = 0.02


def main(arguments: list[str] | None = None) -> int:
    """Train; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.lab.training.job")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nice", type=int, default=0)
    chosen = parser.parse_args(arguments)
    os.nice(chosen.nice)
    # OpenMP threads that spin ruin a busy machine; it must be set before the libraries load.
    for name, value in _ONE_THREAD.items():
        os.environ.setdefault(name, value)
    try:
        _say(train(chosen.folder, _progress(_say)))
    except (ValueError, OSError) as error:
        _say({"error": f"cannot train: {error}"})
        return 1
    return 0


def train(folder: Path, report: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Make the artifact of a job's folder; return its version and summary."""
    from services.ai.core.artifact_summary import summary_of, write_summary
    from services.ai.core.manifest import parse_manifest
    from services.lab.training import run

    plan = plan_of(json.loads((folder / "plan.json").read_text(encoding="utf-8")))
    material = run.Material(read_candles(folder / "candles.npz"), [])
    trained = run.train_artifact(material, plan, "trainer", report, folder / "kept")
    run.save(trained, folder / "out")
    manifest = parse_manifest(json.dumps(trained.manifest))
    return {"version": manifest.version, "summary": write_summary(summary_of(manifest))}


def plan_of(told: dict[str, Any]) -> Any:
    """Return the plan of a job; the networks are left out where torch is not installed."""
    from services.lab.training.boosters import BoosterPlan
    from services.lab.training.members import NETWORKS, TREES, MemberPlan, NetPlan, have_torch
    from services.lab.training.plan import TrainingPlan
    from services.trade.barrier_label import LabelRule

    trees_only = told["trees_only"] or not have_torch()
    return TrainingPlan(
        every=told["every"],
        folds=told["folds"],
        label=LabelRule(horizon=told["horizon"], atr_multiple=told["barrier"]),
        members=MemberPlan(
            models=TREES if trees_only else TREES + NETWORKS,
            boosters=BoosterPlan(rounds=told["rounds"], leaves=told["leaves"], seed=told["seed"]),
            networks=NetPlan(epochs=told["epochs"], seed=told["seed"]),
        ),
    )


def read_candles(path: Path) -> list[Any]:
    """Read series as analytics packs them: `<symbol>.<timeframe>.<n>.times` and `.bars` each."""
    import numpy as np

    from services.lab.training.data import Series

    found = []
    with np.load(path, allow_pickle=False) as packed:
        for name in sorted(n.removesuffix(".times") for n in packed.files if n.endswith(".times")):
            symbol, timeframe, _ = name.split(".")
            times, bars = packed[f"{name}.times"], packed[f"{name}.bars"]
            found.append(Series(symbol, timeframe, times, bars))
    return found


def _progress(say: Callable[[dict[str, Any]], None]) -> Callable[[str, int, int], None]:
    done: dict[str, int] = {}
    told = {"at": -1.0}

    def report(step: str, more: int, total: int) -> None:
        done[step] = done.get(step, 0) + more
        begin, part = _STEPS.get(step, (0.95, 0.05))
        progress = begin + part * min(1.0, done[step] / max(1, total))
        if progress - told["at"] >= _SAY_EVERY:
            told["at"] = progress
            say({"step": step, "progress": round(progress, 4)})

    return report


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
