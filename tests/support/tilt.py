"""Evaluates a Tiltfile without Tilt: its builtins are recorders with Tilt's own parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import starlark

AUTO, MANUAL = "auto", "manual"
PRELUDE = """
config = struct(define_string = _define_string, parse = _parse, tilt_subcommand = _subcommand)
TRIGGER_MODE_AUTO = "auto"
TRIGGER_MODE_MANUAL = "manual"
"""


@dataclass(frozen=True)
class Resource:
    """One resource of the graph."""

    name: str
    kind: str
    """`local` or `k8s`."""
    cmd: list[str]
    serve_cmd: list[str]
    deps: list[str]
    resource_deps: list[str]
    labels: list[str]
    links: list[tuple[str, str]]
    probe: Mapping[str, Any] | None
    auto_init: bool
    trigger_mode: str
    ignore: list[str]
    port_forwards: list[int] = field(default_factory=list)


@dataclass
class Evaluated:
    """What a Tiltfile asked Tilt for."""

    resources: dict[str, Resource] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    kustomizations: list[str] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)
    ran: list[list[str]] = field(default_factory=list)
    """Commands of `local`, which run while the file is read."""
    read: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)


def evaluate(
    file: Path,
    arguments: Mapping[str, str],
    *,
    subcommand: str = "up",
    files: Mapping[str, Any] | None = None,
) -> Evaluated:
    """Read the file with these options; `files` is what `read_json` finds.

    StarlarkError holds what Tilt would say.
    """
    return _Reading(arguments, subcommand, files or {}).run(file)


class _Reading:
    def __init__(
        self, arguments: Mapping[str, str], subcommand: str, files: Mapping[str, Any]
    ) -> None:
        self._arguments = arguments
        self._subcommand = subcommand
        self._files = files
        self.found = Evaluated()

    def run(self, file: Path) -> Evaluated:
        globals_ = starlark.Globals.extended_by(
            [starlark.LibraryExtension.StructType, starlark.LibraryExtension.Print]
        )
        dialect = starlark.Dialect.standard()
        dialect.enable_load = False  # extensions come from the internet
        dialect.enable_f_strings = False  # Tilt's Starlark has none
        dialect.enable_keyword_only_arguments = True
        dialect.enable_top_level_stmt = True
        module = starlark.Module()
        module["_subcommand"] = self._subcommand
        for name, builtin in self._builtins().items():
            module.add_callable(name, builtin)
        for title, text in (("prelude", PRELUDE), (file.name, file.read_text())):
            starlark.eval(module, starlark.parse(title, text, dialect=dialect), globals_)
        return self.found

    def _builtins(self) -> dict[str, Callable[..., Any]]:
        return {
            "_define_string": self._define_string,
            "_parse": self._parse,
            "fail": _fail,
            "link": lambda url, name="": {"url": url, "name": name},
            "http_get_action": _http_get_action,
            "probe": _probe,
            "local_resource": self._local_resource,
            "local": self._local,
            "read_json": self._read_json,
            "docker_build": self._docker_build,
            "kustomize": self._kustomize,
            "k8s_yaml": self._k8s_yaml,
            "k8s_resource": self._k8s_resource,
        }

    def _define_string(self, name: str, args: bool = False, usage: str = "") -> None:
        self.found.options[name] = usage

    def _parse(self) -> dict[str, str]:
        unknown = set(self._arguments) - set(self.found.options)
        if unknown:
            raise ValueError(f"unknown flag: --{', '.join(sorted(unknown))}")
        return dict(self._arguments)

    def _add(self, resource: Resource) -> None:
        if resource.name in self.found.resources:
            raise ValueError(f"resource {resource.name} is defined twice")
        self.found.resources[resource.name] = resource

    def _local_resource(
        self,
        name: str,
        cmd: Any = "",
        deps: Any = (),
        trigger_mode: str = AUTO,
        resource_deps: Any = (),
        ignore: Any = (),
        auto_init: bool = True,
        serve_cmd: Any = "",
        allow_parallel: bool = False,
        links: Any = (),
        env: Any = None,
        serve_env: Any = None,
        readiness_probe: Any = None,
        labels: Any = (),
    ) -> None:
        if not cmd and not serve_cmd:
            raise ValueError(f"local_resource {name} must have a cmd or serve_cmd")
        self._add(
            Resource(
                name=name,
                kind="local",
                cmd=list(cmd),
                serve_cmd=list(serve_cmd),
                deps=list(deps),
                resource_deps=list(resource_deps),
                labels=list(labels),
                links=[(one["url"], one["name"]) for one in links],
                probe=readiness_probe,
                auto_init=auto_init,
                trigger_mode=trigger_mode,
                ignore=list(ignore),
            )
        )

    def _local(self, command: Any, quiet: bool = False, echo_off: bool = False) -> str:
        self.found.ran.append(list(command))
        return ""

    def _read_json(self, path: str, default: Any = None) -> Any:
        self.found.read.append(path)
        return self._files.get(path, default)

    def _docker_build(
        self, ref: str, context: str, dockerfile: str = "Dockerfile", target: str = ""
    ) -> None:
        self.found.images[ref] = {"context": context, "dockerfile": dockerfile, "target": target}

    def _kustomize(self, paths: str, flags: Any = ()) -> str:
        self.found.kustomizations.append(paths)
        return f"kustomize {paths}"

    def _k8s_yaml(self, yaml: str, allow_duplicates: bool = False) -> None:
        self.found.applied.append(yaml)

    def _k8s_resource(
        self,
        workload: str = "",
        new_name: str = "",
        port_forwards: Any = (),
        resource_deps: Any = (),
        trigger_mode: str = AUTO,
        auto_init: bool = True,
        labels: Any = (),
        links: Any = (),
        objects: Any = (),
    ) -> None:
        self._add(
            Resource(
                name=new_name or workload,
                kind="k8s",
                cmd=[],
                serve_cmd=[],
                deps=[],
                resource_deps=list(resource_deps),
                labels=list(labels),
                links=[(one["url"], one["name"]) for one in links],
                probe=None,
                auto_init=auto_init,
                trigger_mode=trigger_mode,
                ignore=[],
                port_forwards=list(port_forwards),
            )
        )


def _fail(*words: Any) -> NoReturn:
    raise ValueError(" ".join(str(word) for word in words))


def _http_get_action(
    port: int, host: str = "localhost", scheme: str = "http", path: str = ""
) -> dict[str, Any]:
    return {"port": port, "host": host, "path": path}


def _probe(
    initial_delay_secs: int = 0,
    timeout_secs: int = 1,
    period_secs: int = 10,
    success_threshold: int = 1,
    failure_threshold: int = 3,
    http_get: Any = None,
    tcp_socket: Any = None,
) -> dict[str, Any]:
    return {"period": period_secs, "http_get": http_get, "tcp_socket": tcp_socket}
