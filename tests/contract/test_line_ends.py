"""Every text file of the repository ends its lines as Unix does."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_no_file_has_windows_line_ends() -> None:
    """Incident 118: a script with CRLF failed each time, and nobody refreshed the policy."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(listed) > 100
    files = [ROOT / name for name in listed]
    bad = []
    for file in files:
        content = file.read_bytes() if file.is_file() else b""
        if b"\0" not in content and b"\r\n" in content:
            bad.append(file.relative_to(ROOT).as_posix())
    assert bad == []
