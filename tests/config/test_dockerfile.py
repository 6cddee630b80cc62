"""The image: its recipe is clean and portable, and what it holds is enough to run."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.catalog import ports

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.M)).splitlines()
PATTERNS = [
    line for line in (ROOT / ".dockerignore").read_text().split() if not line.startswith("#")
]


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in INSTRUCTIONS if line.startswith(name + " ")]


def included(path: str) -> bool:
    """Tell whether the build is given the file, by the rules of `.dockerignore`: the last wins."""
    kept = True
    for pattern in PATTERNS:
        body = pattern.lstrip("!")
        bare = body.removeprefix("**/")
        parts = path.split("/")
        whole = [("/").join(parts[: n + 1]) for n in range(len(parts))]
        names = parts if body != bare else whole
        if any(fnmatch.fnmatchcase(name, bare) for name in names):
            kept = pattern.startswith("!")
    return kept


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE.replace("--no-install-recommends ", ""))
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, worse], capture_output=True, text=True)
    assert "DL3015" in done.stdout


def test_any_builder_can_build_it() -> None:
    """A `syntax` line, mounts, `--chmod` and here-documents need BuildKit or the internet."""
    assert "syntax=" not in DOCKERFILE
    for line in INSTRUCTIONS:
        assert not re.search(r"--(mount|chmod|link|parents|exclude)\b|<<", line), line


def test_it_runs_as_a_person_that_kubernetes_can_see_is_not_root() -> None:
    last = DOCKERFILE.rindex("\nFROM ")
    users = re.findall(r"^USER (.*)$", DOCKERFILE[last:], flags=re.M)
    assert users == ["10001:10001"]
    after = DOCKERFILE[DOCKERFILE.index("\nUSER ") :]
    assert not re.search(r"^(RUN|COPY|ADD) ", after, flags=re.M)


def test_packages_are_installed_before_the_source_is_copied() -> None:
    install, copied = DOCKERFILE.index("pip install --requirement"), DOCKERFILE.index("COPY . .")
    assert install < copied


def test_ports_are_those_of_the_catalog() -> None:
    assert instructions("EXPOSE") == [f"{ports.GRPC} {ports.METRICS}"]
    environment = instructions("ENV")[-1]
    assert f"GRPC_ADDRESS=0.0.0.0:{ports.GRPC}" in environment
    assert f"METRICS_ADDRESS=0.0.0.0:{ports.METRICS}" in environment


@pytest.mark.parametrize(
    "path",
    [
        ".env", ".git/config", ".quantum/secrets.json", "tests/conftest.py", "docs/events.md",
        "services/kit/__pycache__/bus.cpython-311.pyc", "protos/quantum/ai/v1/signal.proto",
        "mesh/kubernetes/base/kustomization.yaml", "compose.yaml",
    ],
)  # fmt: skip
def test_secrets_data_and_tests_stay_outside(path: str) -> None:
    assert not included(path)


def test_what_the_image_holds_is_enough_to_run(tmp_path: Path) -> None:
    """Copies what the build is given, and starts from there what containers start."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    held = [path for path in listed if included(path)]
    assert held
    for path in held:
        target = tmp_path / "app" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
    app = tmp_path / "app"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{app}:{app / 'protos/gen'}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    program = (
        "import sys; from pathlib import Path;"
        "import services.ctl.__main__ as qt, services.ai.app, services.exec_risk.app;"
        "import services.analytics.app, services.venue.app, services.ctl.healthcheck;"
        "from services.ctl import policy; from services.ctl.render import descriptor;"
        "policy.load(); descriptor.contracts();"
        "from services.ctl.render import gateway, transport; gateway.OPENAPI.read_text();"
        "assert transport.PIECES.is_dir();"
        "assert Path(qt.__file__).is_relative_to(sys.argv[1]), qt.__file__"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(app)],
        cwd=app, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
