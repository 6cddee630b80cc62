"""A folder of small files as one block of bytes, the same bytes for the same files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

_LARGEST = 256 << 20
"""Bytes that all files together may have."""


class BadFolder(ValueError):
    """The bytes are no packed folder, or hold what has no place in one."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return the files by name as one block; BadFolder when a name is a path."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as packed:
        for name in sorted(files):
            _check_name(name)
            header = tarfile.TarInfo(name)
            header.size = len(files[name])
            packed.addfile(header, io.BytesIO(files[name]))
    return buffer.getvalue()


def unpack(content: bytes) -> dict[str, bytes]:
    """Return the files by name; BadFolder says what is wrong with the bytes."""
    found: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as packed:
            for header in packed:
                _check_name(header.name)
                total += header.size
                source = packed.extractfile(header) if header.isreg() else None
                if source is None or header.name in found or total > _LARGEST:
                    raise BadFolder(f"{header.name}: not a plain file, there twice, or too large")
                found[header.name] = source.read()
    except tarfile.TarError as error:
        raise BadFolder(f"not a packed folder: {error}") from error
    return found


def _check_name(name: str) -> None:
    if not name or "/" in name or "\\" in name or name.startswith(".") or len(name) > 100:
        raise BadFolder(f"{name!r} is no plain file name")
