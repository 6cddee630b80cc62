"""The manifests of a cluster as kustomize builds them, and how they are found in each other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from services.ctl.render.pieces import DUMPER, LOADER

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "mesh" / "kubernetes"
KUBECTL = Path(sys.executable).with_name("kubectl")
OVERLAYS = ("dev", "prod")
Document = dict[str, Any]
VERSION = "1.32"
CUSTOM = {
    "networking.istio.io/v1", "security.istio.io/v1", "telemetry.istio.io/v1",
    "postgresql.cnpg.io/v1", "monitoring.coreos.com/v1", "monitoring.coreos.com/v1alpha1",
}  # fmt: skip
"""Groups of which Kubernetes has no schema: tests of their own look at them."""


@cache
def build(overlay: str) -> tuple[Document, ...]:
    """Return all documents of an overlay."""
    return _built(KUBERNETES / "overlays" / overlay)


def _built(overlay: Path) -> tuple[Document, ...]:
    done = subprocess.run([KUBECTL, "kustomize", overlay], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return tuple(yaml.load_all(done.stdout, LOADER))


def build_with(folder: Path, components: Sequence[str]) -> tuple[Document, ...]:
    """Return all documents of the production overlay with other components, built in a copy."""
    copied = folder / "mesh"
    shutil.copytree(ROOT / "mesh", copied)
    overlay = copied / "kubernetes" / "overlays" / "prod"
    made = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    text = yaml.safe_dump({**made, "components": list(components)})
    (overlay / "kustomization.yaml").write_text(text)
    return _built(overlay)


def named(document: Document) -> str:
    """Return kind and name, for messages."""
    return f"{document['kind']}/{document['metadata']['name']}"


def of_kind(documents: tuple[Document, ...], *kinds: str) -> dict[str, Document]:
    """Return the documents of these kinds by name."""
    return {d["metadata"]["name"]: d for d in documents if d["kind"] in kinds}


def policies(documents: tuple[Document, ...]) -> dict[str, Any]:
    """Return what the network policies say, by name."""
    return {n: d["spec"] for n, d in of_kind(documents, "NetworkPolicy").items()}


def workloads(documents: tuple[Document, ...]) -> dict[str, Document]:
    """Return everything that makes pods, by name."""
    return of_kind(documents, "Deployment", "StatefulSet", "Job")


def pod(workload: Document) -> Document:
    """Return the specification of a workload's pods."""
    found: Document = workload["spec"]["template"]["spec"]
    return found


def containers(workload: Document) -> Iterator[Document]:
    """Return its containers, those that run first included."""
    yield from pod(workload).get("initContainers", [])
    yield from pod(workload)["containers"]


def labels(workload: Document) -> dict[str, str]:
    """Return the labels of its pods."""
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def matches(selector: dict[str, Any], held: dict[str, str]) -> bool:
    """Tell whether a selector of labels, given with `matchLabels` or bare, takes these labels."""
    wanted = selector.get("matchLabels", selector)
    return all(held.get(key) == value for key, value in wanted.items())


def decode(*documents: Document) -> list[str]:
    """Let kubectl read the documents into its types, quantities included; return its complaints."""
    done = subprocess.run(
        [KUBECTL, "set", "env", "--local", "-f", "-", "A=b", "-o", "name"],
        input=yaml.dump_all(documents, Dumper=DUMPER),
        capture_output=True,
        text=True,
    )
    # what has no pods has no environment either: then it was read
    nothing_else = re.compile(r"(error: )?\S+/\S+( .*pod template.*)?|.*pod template.*|")
    return [line for line in done.stderr.splitlines() if not nothing_else.fullmatch(line.strip())]


def assert_schema(document: Document) -> None:
    """Fail when a document is not what the schema of its kind says, or has none that is known."""
    try:
        kubernetes_validate.validate(document, VERSION, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        assert document["apiVersion"] in CUSTOM, f"no schema of {named(document)}"
