"""`qt models`: what there is, what it is worth, and which one makes the signals."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from quantum.ai.v1 import registry_pb2
from rich.progress import Progress

from services.ctl.commands.learning import hits, retrain
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.commands.report import performance
from services.ctl.gateway_client import as_json, connected
from services.ctl.operator_bus import operator_bus
from services.ctl.supervisor.home import Home, Refused, read_json
from services.ctl.terminal import model_tables
from services.kit.bus.objects import ObjectDamaged, ObjectExists
from services.kit.clock import SystemClock
from services.lab.training.command import train

if TYPE_CHECKING:
    from services.lab.training.data import Series
    from services.lab.training.shelf import Shelved

app = typer.Typer(
    help="The models: train, store, deploy, compare and roll back.", no_args_is_help=True
)
app.command()(train)
app.command()(performance)
app.command()(hits)
app.command()(retrain)

SHIPPED = Path(__file__).resolve().parents[2] / "ai" / "models"
TRAINED = Path(".quantum/models")

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept with the pointer.")]
UrlOption = Annotated[
    str, typer.Option("--url", envvar="NATS_URL", help="Bus of a system that runs elsewhere.")
]
SeedOption = Annotated[
    Path | None,
    typer.Option("--nkey-file", envvar="NATS_NKEY_FILE", help="Seed of the bus user `operator`."),
]
TrustOption = Annotated[
    Path | None,
    typer.Option("--ca-file", envvar="NATS_CA_FILE", help="Authority of the bus's certificate."),
]
FoldersOption = Annotated[
    Path, typer.Option("--trained", help="Folder of trained artifacts, one folder a version.")
]


class StageOption(StrEnum):
    """Stages that an artifact can be put to."""

    ACTIVE = "active"
    SHADOW = "shadow"


@app.command("list")
def list_(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Show all artifacts, what each is used for, and the models that vote.

    Example: qt models list
    """

    async def ask() -> Any:
        async with connected(Home(home)) as client:
            return await client.models()

    told = asyncio.run(ask())
    answer(as_json(told), model_tables.listed(told), json_)


@app.command()
def show(
    version: Annotated[str, typer.Argument(help="Version, or folder of an artifact.")],
    trained: FoldersOption = TRAINED,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show what an artifact's manifest says: data, command, metrics beside the baselines.

    Example: qt models show four-1m-h15-220544da
    """
    from services.ai.core.promotion_gate import BASELINES, gains

    found = _artifacts([version], home, trained)[0]
    manifest = json.loads(found.files["manifest.json"])
    known = gains(found.manifest.fold_losses)
    named = {BASELINES[name]: gain for name, gain in known.items() if name in BASELINES}
    answer(manifest, model_tables.shown(manifest, named), json_)


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(help="Folder of the artifact, as training made it.")],
    url: UrlOption = "",
    nkey_file: SeedOption = None,
    ca_file: TrustOption = None,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Check an artifact and store it in the registry, where it is a candidate.

    A version is stored once; the same again is no error, other files under its name are one.

    Example: qt models add .quantum/models/four-1m-h15-220544da
    """
    from services.lab.training import shelf

    try:
        artifact = shelf.read_folder(folder)
        shelf.check(artifact)
    except ValueError as error:
        raise Refused(f"{folder} is not stored: {error}") from error

    async def put() -> bool:
        async with operator_bus(Home(home), url, nkey_file, ca_file) as bus:
            return await shelf.store(bus, artifact, SystemClock().now())

    try:
        new = asyncio.run(put())
    except ObjectExists as error:
        raise Refused(f"{error}: give the new one a version of its own") from error
    version = artifact.manifest.version
    text = f"{version} {'is stored' if new else 'was stored already'}; `qt models deploy {version}"
    answer({"version": version, "stored": new}, f"{text} --stage shadow` lets it answer", json_)


@app.command()
def deploy(
    version: Annotated[str, typer.Argument(help="Version; `none` with --stage shadow: no shadow.")],
    reason: ReasonOption,
    stage: Annotated[
        StageOption, typer.Option(help="active makes the signals, shadow is only recorded.")
    ] = StageOption.SHADOW,
    override_gate: Annotated[
        bool, typer.Option("--override-gate", help="Promote what does not beat the baselines.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Put an artifact to a stage while everything runs; replicas switch at the same candle.

    Example: qt models deploy four-1m-h15-220544da --stage active --reason "better in shadow"
    """
    named = "" if version == "none" and stage is StageOption.SHADOW else version
    wanted = registry_pb2.STAGE_ACTIVE if stage is StageOption.ACTIVE else registry_pb2.STAGE_SHADOW

    async def ask() -> Any:
        async with connected(Home(home)) as client:
            return await client.deploy_model(
                named, wanted, reason, f"qt-{uuid.uuid4()}", override_gate=override_gate
            )

    told = asyncio.run(ask())
    was = "" if told.changed else " (as before)"
    answer(as_json(told), f"{stage}: {model_tables.told_of(told.pointer)}{was}", json_)


@app.command()
def rollback(
    reason: ReasonOption,
    version: Annotated[
        str, typer.Argument(help="Version to take away; the active one when it is not said.")
    ] = "",
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Take the active artifact away; the one before it answers again, without a restart.

    Example: qt models rollback --reason "worse than in shadow"
    """

    async def ask() -> Any:
        async with connected(Home(home)) as client:
            named = version or (await client.models()).active.version
            if not named:
                raise Refused("nothing was deployed: the artifact that ships makes the signals")
            return await client.rollback_model(named, reason, f"qt-{uuid.uuid4()}")

    told = asyncio.run(ask())
    was = "" if told.changed else " (as before)"
    answer(as_json(told), f"active: {model_tables.told_of(told.pointer)}{was}", json_)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="Version or folder, as a rule the active one.")],
    second: Annotated[str, typer.Argument(help="Version or folder that is to be judged.")],
    data: Annotated[
        Path | None, typer.Option(help="Recorded candles; the recorded month when not said.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Take every n-th bar as a row.")] = 60,
    trained: FoldersOption = TRAINED,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Compare two artifacts: as each was measured, and both on the same recorded candles.

    Rows that one of them was trained on prove nothing, and it says so.

    Example: qt models compare four-1m-h15-220544da trees-1m-h15-4c0172fa
    """
    from services.lab.training import shelf
    from services.lab.training.compare import compare as compared

    both = _artifacts([first, second], home, trained)
    series = _recorded(data)
    same = None
    try:
        if series:
            rule = shelf.label_rule(both[0])
            total = sum(max(0, one.times.size - 128) // every for one in series)
            with Progress(disable=json_) as progress:
                task = progress.add_task("asking both", total=total)
                same = compared(
                    both[0], both[1], series, rule, every, lambda n: progress.advance(task, n)
                )
    except ValueError as error:
        raise Refused(f"{first} and {second} cannot be compared: {error}") from error
    versions = [each.manifest.version for each in both]
    measured = [dict(each.manifest.metrics.get("ensemble", {})) for each in both]
    same_labels = shelf.same_labels(*both)
    value = {
        "same_labels": same_labels,
        "walk_forward": dict(zip(versions, measured, strict=True)),
        "same_candles": None if same is None else same.as_dict(),
    }
    table = model_tables.compared(versions, measured, same, same_labels=same_labels)
    answer(value, table, json_)


def _recorded(data: Path | None) -> list[Series]:
    from services.lab.training import data as candles

    place = data or Path(os.environ.get("QUANTUM_DATA", "../shared/data")) / "perp-1m-2025-05"
    if data is None and not place.is_dir():
        return []
    try:
        return [candles.read_series(file) for file in candles.candle_files(place)]
    except (OSError, ValueError) as error:
        raise Refused(f"{place} cannot be read: {error}") from error


def _artifacts(named: list[str], home: Path, trained: Path) -> list[Shelved]:
    """Return artifacts by folder or version, from here or from the registry."""
    from services.lab.training import shelf

    found = []
    for name in named:
        folder = Path(name)
        try:
            if folder.is_dir():
                found.append(shelf.read_folder(folder))
                continue
            here = shelf.find(name, [SHIPPED, trained])
            found.append(here or asyncio.run(_stored(name, home)))
        except (ValueError, ObjectDamaged) as error:
            raise Refused(str(error)) from error
    return found


async def _stored(version: str, home: Path) -> Shelved:
    from services.lab.training import shelf

    if "nats" not in read_json(Home(home).endpoints_file):
        raise Refused(f"{version} is not here; `qt up` starts the system that may have it")
    async with operator_bus(Home(home)) as bus:
        found = await shelf.fetch(bus, version)
    if found is None:
        raise Refused(f"there is no artifact {version}: `qt models list` shows those that are")
    return found
