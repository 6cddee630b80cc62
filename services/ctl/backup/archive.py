"""One archive: a manifest, its members, and behind them the checksum of all that is before it.

The archive is an ordinary `.tar.zst` (`.tar.gz` where the package zstandard is not installed). Its
last bytes hold the SHA-256 of the rest, in a part of the compressed format that unpackers skip: any
changed byte is noticed, whatever it belongs to, before anything is unpacked.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib
import importlib.util
import json
import os
import struct
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

MANIFEST = "manifest.json"
ZST, GZ = ".tar.zst", ".tar.gz"
_CHUNK = 1 << 20
_FORMAT = 1
_ZST_HEAD = struct.pack("<II", 0x184D2A50, 32)
"""A skippable frame of 32 bytes (RFC 8878, section 3.1.2)."""
_GZ_HEAD = bytes.fromhex("1f8b080400000000000a2400") + b"QT" + struct.pack("<H", 32)
_GZ_TAIL = bytes.fromhex("03000000000000000000")
"""An empty member whose extra field holds 32 bytes (RFC 1952, section 2.3.1.1)."""


class Corrupt(Exception):
    """The archive is not what was written; the text says what differs."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds."""

    created: str
    """Wall time, ISO 8601, UTC."""
    build: str
    version: str
    secrets: bool
    """True: keys and passwords are inside."""
    members: tuple[Member, ...] = ()
    tables: Mapping[str, int] = field(default_factory=dict)
    """Rows by `schema.table`."""
    streams: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Messages, bytes, first and last sequence by stream; buckets and objects are streams too."""

    def text(self) -> str:
        """Return it as it stands in the archive."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def read(cls, text: bytes) -> Manifest:
        """Read it; Corrupt when it is none."""
        try:
            held: dict[str, Any] = json.loads(text)
            if held.pop("format") != _FORMAT:
                raise Corrupt("the archive has a format that this version cannot read")
            members = tuple(Member(**member) for member in held.pop("members"))
            return cls(members=members, **held)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Corrupt(f"the manifest cannot be read: {error}") from error


def suffix() -> str:
    """Return the ending of archives that are written here."""
    return ZST if importlib.util.find_spec("zstandard") else GZ


def describe(staging: Path) -> tuple[Member, ...]:
    """Return size and checksum of every file below a folder."""
    found = []
    for path in sorted(p for p in staging.rglob("*") if p.is_file()):
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        found.append(Member(path.relative_to(staging).as_posix(), path.stat().st_size, digest))
    return tuple(found)


def write(target: Path, staging: Path, manifest: Manifest) -> None:
    """Write the archive to stable storage; OSError when there is no room."""
    (staging / MANIFEST).write_text(manifest.text())
    with _compressed(target, "wb") as out, tarfile.open(fileobj=out, mode="w|") as packed:
        for name in (MANIFEST, *(member.name for member in manifest.members)):
            packed.add(staging / name, arcname=name)
    with target.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").digest()
    with target.open("ab") as opened:
        opened.write(_trailer(target, digest))
        opened.flush()
        os.fsync(opened.fileno())


def verify(path: Path) -> Manifest:
    """Read the whole archive and return its manifest; Corrupt when a byte differs."""
    _check_whole(path)
    with _members(path) as members:
        manifest: Manifest | None = None
        missing: dict[str, Member] = {}
        for info, content in members:
            if manifest is None:
                manifest = _manifest(info, content)
                missing = {member.name: member for member in manifest.members}
                continue
            _compare(missing.pop(info.name, None), info, content)
    if manifest is None or missing:
        raise Corrupt(f"{path.name} lacks {', '.join(missing) or 'its manifest'}")
    return manifest


def unpack(path: Path, folder: Path) -> Manifest:
    """Verify, then put the members into a folder."""
    manifest = verify(path)
    known = {member.name for member in manifest.members}
    with _members(path) as members:
        for info, content in members:
            if info.name in known:
                place = folder / info.name
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as out:
                    while chunk := content.read(_CHUNK):
                        out.write(chunk)
    return manifest


def _check_whole(path: Path) -> None:
    length = len(_trailer(path, bytes(32)))
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        left = size - length
        while left > 0 and (chunk := opened.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
        if size < length or opened.read() != _trailer(path, digest.digest()):
            raise Corrupt(f"{path.name} is cut off or was changed: its checksum is not its own")


def _trailer(path: Path, digest: bytes) -> bytes:
    if path.name.removesuffix(".part").endswith(ZST):
        return _ZST_HEAD + digest
    return _GZ_HEAD + digest + _GZ_TAIL


def _manifest(info: tarfile.TarInfo, content: IO[bytes]) -> Manifest:
    if info.name != MANIFEST:
        raise Corrupt("the archive does not begin with its manifest")
    return Manifest.read(content.read())


def _compare(member: Member | None, info: tarfile.TarInfo, content: IO[bytes]) -> None:
    if member is None:
        raise Corrupt(f"{info.name} is in the archive and not in its manifest")
    digest = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
    if (info.size, digest.hexdigest()) != (member.size, member.sha256):
        raise Corrupt(f"{info.name} is not what the manifest says")


@contextlib.contextmanager
def _members(path: Path) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes]]]]:
    with _compressed(path, "rb") as source:
        try:
            with tarfile.open(fileobj=source, mode="r|") as packed:
                yield (
                    (info, content)
                    for info in packed
                    if (content := packed.extractfile(info)) is not None
                )
        except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
            raise Corrupt(f"{path.name} cannot be unpacked: {error}") from error


@contextlib.contextmanager
def _compressed(path: Path, mode: str) -> Iterator[IO[bytes]]:
    if not path.name.removesuffix(".part").endswith(ZST):
        with gzip.open(path, mode, compresslevel=6) as opened:
            yield opened  # type: ignore[misc]
        return
    if not importlib.util.find_spec("zstandard"):
        raise Corrupt(f"{path.name} needs the package zstandard: run `make install`")
    with importlib.import_module("zstandard").open(path, mode) as opened:
        yield opened
