"""The cheaper reading of headers says what nats-py's own says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.kit.bus.nats_client import HeaderClient

PIECES = st.sampled_from(
    ["Nats-Msg-Id", "ce-time", "a", ":", ": ", " ", "\t", "\r\n", "\n", "\x00", "ü", "1", "x y"]
)


@given(st.lists(PIECES, max_size=30).map("".join))
def test_any_block_of_headers_reads_the_same(text: str) -> None:
    raw = text.encode()
    assert HeaderClient._parse_header_lines(raw) == Client._parse_header_lines(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"ce-type: candle\r\nce-time: 1\r\n\r\n",
        b"Name:Value\r\nOther:\tValue\r\n",
        b"Link: https://host:80/\r\n",
        b"Bad Name: x\r\nGood: y\r\n",
        "Reason: größer\r\n".encode(),
        b"Broken: \xff\r\n",
    ],
)
def test_headers_of_every_kind_read_the_same(raw: bytes) -> None:
    assert HeaderClient._parse_header_lines(raw) == Client._parse_header_lines(raw)
