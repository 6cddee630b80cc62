"""Generates the Python code and the descriptor of the contracts, a step of `make gen`.

The result is checked in under `protos/gen`; `make check` generates again and fails on a difference.
"""

from __future__ import annotations

import os
import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
GENERATED = PROTOS / "gen"


def main() -> int:
    """Generate into `protos/gen`, or into the directory named by the first argument."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else GENERATED
    target.mkdir(parents=True, exist_ok=True)
    contracts = sorted(
        path.relative_to(PROTOS).as_posix() for path in (PROTOS / "quantum").rglob("*.proto")
    )
    # protoc looks for its plugins on PATH; a virtual environment need not be activated.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    arguments = [
        "protoc",
        f"--proto_path={PROTOS}",
        f"--proto_path={PROTOS / 'third_party'}",
        f"--proto_path={resources.files('grpc_tools') / '_proto'}",
        f"--python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--grpc_python_out={target}",
        f"--mypy_grpc_out=quiet,only_async:{target}",
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={target / 'descriptor.binpb'}",
        *contracts,
        "buf/validate/validate.proto",
    ]
    code: int = protoc.main(arguments)
    if code == 0:
        _drop_empty_service_files(target)
        _mark_packages(target)
    return code


def _drop_empty_service_files(target: Path) -> None:
    for stub in target.rglob("*_pb2_grpc.py"):
        if "class " not in stub.read_text():
            stub.unlink()
            stub.with_suffix(".pyi").unlink(missing_ok=True)


def _mark_packages(target: Path) -> None:
    for package in ("quantum", "buf"):
        for folder in [target / package, *(p for p in (target / package).rglob("*") if p.is_dir())]:
            if folder.name != "__pycache__":
                (folder / "__init__.py").touch()
                (folder / "py.typed").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
