"""The Tiltfile, evaluated in both of its modes: what Tilt would run, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import starlark
import typer
import typer.core
import typer.main

from services.catalog import ports
from services.catalog.processes import PROCESSES, SERVICES
from services.ctl.__main__ import app
from tests.support import cluster
from tests.support.tilt import AUTO, MANUAL, Evaluated, Resource, evaluate

ROOT = Path(__file__).resolve().parents[2]
TILTFILE = ROOT / "Tiltfile"
QT = ".venv/bin/qt"
MODES = ("local", "k8s")
USAGE_ERROR = typer.BadParameter.__mro__[1]
"""What a wrong command line is, whichever library typer brings along."""


def read(mode: str, **options: str) -> Evaluated:
    return evaluate(TILTFILE, {"mode": mode, **options})


def commands(found: Evaluated) -> Iterator[list[str]]:
    for resource in found.resources.values():
        yield from (c for c in (resource.cmd, resource.serve_cmd) if c)
    yield from found.ran


def buttons(found: Evaluated) -> dict[str, Resource]:
    return {n: r for n, r in found.resources.items() if "operate" in r.labels}


def test_it_is_short() -> None:
    assert len(TILTFILE.read_text().splitlines()) < 120


@pytest.mark.parametrize("mode", MODES)
def test_the_graph_has_no_cycle_and_no_unknown_name(mode: str) -> None:
    resources = read(mode).resources
    for resource in resources.values():
        assert set(resource.resource_deps) <= set(resources), resource.name
    order = TopologicalSorter({n: r.resource_deps for n, r in resources.items()}).static_order()
    assert len(list(order)) == len(resources)


@pytest.mark.parametrize("mode", MODES)
def test_what_runs_at_the_start_needs_nothing_that_waits_for_a_button(mode: str) -> None:
    resources = read(mode).resources
    for resource in resources.values():
        assert all(resources[name].auto_init for name in resource.resource_deps), resource.name


@pytest.mark.parametrize("mode", MODES)
def test_every_path_exists(mode: str) -> None:
    found = read(mode)
    watched = [path for r in found.resources.values() for path in r.deps]
    built = [
        str(image[key]) for image in found.images.values() for key in ("context", "dockerfile")
    ]
    for path in [*watched, *built, *found.kustomizations]:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("mode", MODES)
def test_every_command_exists_and_takes_its_arguments(mode: str) -> None:
    targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines()}
    found = evaluate(TILTFILE, {"mode": mode, "market": "generated", "speed": "60"})
    for command in commands(found):
        if command[0] == QT:
            parse(command[1:])
        elif command[0] == "make":
            assert command[1] in targets
        else:
            assert command[:3] == [".venv/bin/python", "-m", "pytest"]
            assert all((ROOT / path).exists() for path in command[3:] if path[0] != "-")


def test_an_argument_that_qt_does_not_know_is_noticed() -> None:
    for wrong in (["emergency", "halt"], ["state", "set", "ASLEEP"], ["reconcile", "--fix"]):
        with pytest.raises(USAGE_ERROR):
            parse(wrong)


def parse(arguments: list[str]) -> None:
    """Let `qt` read the arguments, without running anything."""
    command: Any = typer.main.get_command(app)
    name: Any = "qt"
    context = None
    while isinstance(command, typer.core.TyperGroup):
        context = command.make_context(name, list(arguments), parent=context)
        rest = [*context._protected_args, *context.args]
        name, command, arguments = command.resolve_command(context, rest)
    command.make_context(name, list(arguments), parent=context)


def test_local_mode_asks_for_no_cluster_and_no_image() -> None:
    found = read("local")
    assert not found.images
    assert not found.applied
    assert not found.kustomizations
    assert {r.kind for r in found.resources.values()} == {"local"}


def test_k8s_mode_builds_the_image_and_applies_the_overlay_that_asks_for_it() -> None:
    found = read("k8s")
    assert found.kustomizations == ["mesh/kubernetes/overlays/dev"]
    assert found.applied == ["kustomize mesh/kubernetes/overlays/dev"]
    deployed = cluster.workloads(cluster.build("dev"))
    images = {c["image"].split(":")[0] for w in deployed.values() for c in cluster.containers(w)}
    assert set(found.images) == {image for image in images if image != "nats"}
    named = {name for name, resource in found.resources.items() if resource.kind == "k8s"}
    assert named == set(deployed)
    forwarded = found.resources["gateway"].port_forwards
    public = [ports.INGRESS, ports.INGRESS_TLS, *(service.health_port for service in SERVICES)]
    assert sorted(forwarded) == sorted(public)


def test_local_mode_runs_one_supervisor_after_the_installation() -> None:
    system = read("local").resources["system"]
    assert system.serve_cmd == [QT, "up", "--home", ".quantum"]
    assert system.resource_deps == ["install"]
    given = read("local", market="live", speed="0", home="other").resources["system"]
    assert given.serve_cmd == [QT, "up", "--home", "other", "--market", "live", "--speed", "0"]


def test_every_service_is_shown_when_it_is_ready() -> None:
    found = read("local").resources
    for service in SERVICES:
        shown = found[service.name]
        assert shown.resource_deps == ["system"]
        assert shown.probe is not None
        assert shown.probe["http_get"]["port"] == service.health_port
        assert shown.probe["http_get"]["path"] == "/ready"
        urls = {url for url, _ in shown.links}
        assert f"http://localhost:{service.health_port}/health" in urls


def test_a_changed_file_restarts_its_service_alone_and_none_at_the_start() -> None:
    found = read("local").resources
    for process in PROCESSES:
        reload = found[f"reload-{process.name}"]
        assert reload.cmd == [QT, "restart", process.key, "--home", ".quantum"]
        assert reload.trigger_mode == AUTO
        assert not reload.auto_init
        assert f"services/{process.key}" in reload.deps
        assert not {f"services/{p.key}" for p in PROCESSES if p is not process} & set(reload.deps)
        assert "**/__pycache__" in reload.ignore, "python would restart it for ever"


def test_operators_have_buttons_that_never_press_themselves() -> None:
    found = buttons(read("local"))
    pressed = {name: resource.cmd[1:] for name, resource in found.items()}
    assert {"emergency-stop", "emergency-reset", "halt", "pause-entries", "resume"} <= set(pressed)
    assert {"reconcile", "verify"} <= set(pressed)
    for resource in found.values():
        assert (resource.auto_init, resource.trigger_mode) == (False, MANUAL)
        assert not resource.deps
    for command in pressed.values():
        # there is nobody to answer a question
        assert "--yes" in command or command[0] not in ("emergency", "state")


@pytest.mark.parametrize("mode", MODES)
def test_tests_and_code_generation_wait_for_a_person(mode: str) -> None:
    found = read(mode).resources
    for name in ("test", "test-unit", "check", "generate-code"):
        assert (found[name].auto_init, found[name].trigger_mode) == (False, MANUAL)


def test_links_lead_to_the_gateway_the_traces_and_every_replicas_metrics() -> None:
    files = {
        ".quantum/run/endpoints.json": {
            "instances": {
                "ai-1": {"metrics": "127.0.0.1:20001"},
                "ai-2": {"metrics": "127.0.0.1:2"},
            }
        }
    }
    found = evaluate(TILTFILE, {}, files=files)
    links = {url for url, _ in found.resources["system"].links}
    assert f"http://localhost:{ports.INGRESS}/v1/analytics/health" in links
    assert {"http://127.0.0.1:20001/metrics", "http://127.0.0.1:2/metrics"} <= links
    assert any(":16686" in url for url in links)


def test_tilt_down_also_ends_what_outlived_it() -> None:
    assert evaluate(TILTFILE, {}, subcommand="down").ran == [[QT, "down", "--home", ".quantum"]]
    assert not evaluate(TILTFILE, {}).ran


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(starlark.StarlarkError, match="say local or k8s"):
        read("mars")
    with pytest.raises(starlark.StarlarkError, match="unknown flag"):
        read("local", colour="red")
