"""Where servers that tests start keep their data."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def server_folder() -> Iterator[Path]:
    """Have a folder that all may enter: PostgreSQL may run under another account than the tests."""
    root = Path(tempfile.mkdtemp(prefix="quantum-tests-"))
    root.chmod(0o755)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)
