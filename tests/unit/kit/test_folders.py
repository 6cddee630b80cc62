"""A folder as one block of bytes."""

from __future__ import annotations

import contextlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.folders import BadFolder, pack, unpack

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=20)


@given(st.dictionaries(names, st.binary(max_size=2000), max_size=6))
def test_a_folder_comes_back_and_always_is_the_same_bytes(files: dict[str, bytes]) -> None:
    packed = pack(files)
    assert unpack(packed) == files
    assert pack(dict(reversed(files.items()))) == packed


@pytest.mark.parametrize("name", ["", "../x", "/etc/passwd", "a/b", ".hidden", "a\\b", "x" * 101])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(BadFolder, match="no plain file name"):
        pack({name: b""})


@given(st.binary(max_size=3000))
def test_other_bytes_are_refused_or_empty(content: bytes) -> None:
    with contextlib.suppress(BadFolder):
        assert isinstance(unpack(content), dict)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_what_is_no_plain_file_is_refused(kind: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        header = tarfile.TarInfo("model.onnx")
        header.type, header.linkname = kind, "/etc/passwd"
        packed.addfile(header)
    with pytest.raises(BadFolder, match="not a plain file"):
        unpack(buffer.getvalue())


def test_a_file_that_is_there_twice_is_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for content in (b"a", b"b"):
            header = tarfile.TarInfo("model.onnx")
            header.size = 1
            packed.addfile(header, io.BytesIO(content))
    with pytest.raises(BadFolder, match="there twice"):
        unpack(buffer.getvalue())


def test_a_truncated_folder_is_refused() -> None:
    packed = pack({"model.onnx": b"x" * 5000})
    with pytest.raises(BadFolder):
        unpack(packed[:3000])
