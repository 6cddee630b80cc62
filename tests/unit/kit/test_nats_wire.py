"""Messages read directly are those that nats-py's own parser would have read."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from services.kit.bus.headers import Headers
from services.kit.bus.nats_client import HeaderClient
from services.kit.bus.nats_commands import publish_command, publish_with_headers, pull_command
from services.kit.bus.nats_wire import WireParser

WORD = st.text("abcXYZ09._-$", min_size=1, max_size=12)
HEADER_NAMES = st.sampled_from(["Nats-Msg-Id", "ce-time", "qt-history", "traceparent", "Status"])
HEADER_VALUES = st.text("abc 019-:=.", max_size=12)


class Client:
    """Notes what a parser hands to its client."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def _process_msg(self, *message: Any) -> None:
        self.heard.append(message)

    async def _process_ping(self) -> None:
        self.heard.append("ping")

    async def _process_pong(self) -> None:
        self.heard.append("pong")

    async def _process_err(self, text: str) -> None:
        self.heard.append(text)

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.heard.append(info)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Return a message with or without headers and reply."""
    subject, sid = draw(WORD).encode(), b"%d" % draw(st.integers(1, 4))
    reply = draw(st.one_of(st.just(""), WORD)).encode()
    payload, named = draw(st.binary(max_size=60)), draw(st.booleans())
    words = [subject, sid, *([reply] if reply else [])]
    if not named:
        return b"MSG %b %d\r\n%b\r\n" % (b" ".join(words), len(payload), payload)
    block = b"NATS/1.0\r\nce-time: 7\r\n\r\n"
    sizes = b"%d %d" % (len(block), len(block) + len(payload))
    return b"HMSG %b %b\r\n%b%b\r\n" % (b" ".join(words), sizes, block, payload)


CONTROL = st.sampled_from(
    [b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'Slow'\r\n", b'INFO {"a":1}\r\n']
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return the data in pieces, as a socket may hand it out."""
    edges = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(edges)]


async def feed(parser: Parser, pieces: list[bytes]) -> None:
    for piece in pieces:
        await parser.parse(piece)


@given(
    st.lists(st.one_of(messages(), CONTROL), max_size=8),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_any_stream_in_any_pieces_reads_as_nats_py_reads_it(
    parts: list[bytes], places: list[int]
) -> None:
    data = b"".join(parts)
    theirs, ours, split = Client(), Client(), Client()
    asyncio.run(feed(Parser(theirs), [data]))
    asyncio.run(feed(WireParser(ours), [data]))
    asyncio.run(feed(WireParser(split), cut(data, places)))
    assert ours.heard == theirs.heard
    assert split.heard == theirs.heard


@given(st.lists(messages(), max_size=8), st.lists(st.integers(0, 400), max_size=12))
def test_a_direct_receiver_gets_the_same_in_the_same_order(
    parts: list[bytes], places: list[int]
) -> None:
    data, theirs, ours = b"".join(parts), Client(), Client()
    asyncio.run(feed(Parser(theirs), [data]))
    parser = WireParser(ours)
    direct: list[tuple[Any, ...]] = []
    for sid in range(1, 5):
        parser.direct[sid] = lambda s, r, h, d, sid=sid: direct.append((sid, s, r, d, h or None))  # type: ignore[misc]
    asyncio.run(feed(parser, cut(data, places)))
    assert direct == theirs.heard
    assert not ours.heard


def test_a_receiver_that_fails_does_not_end_the_reading() -> None:
    parser, heard = WireParser(Client()), []

    def receive(subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        heard.append(data)
        raise ValueError("bad")

    parser.direct[1] = receive
    asyncio.run(feed(parser, [b"MSG a 1 1\r\nx\r\nMSG a 1 1\r\ny\r\n"]))
    assert heard == [b"x", b"y"]


def test_a_new_connection_forgets_the_half_that_was_read() -> None:
    client = Client()
    parser = WireParser(client)
    asyncio.run(parser.parse(b"MSG a 1 5\r\nab"))
    parser.reset()
    asyncio.run(parser.parse(b"PING\r\n"))
    assert client.heard == ["ping"]


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a 1\r\n",
        b"MSG a x 1\r\nx\r\n",
        b"MSG a 1 -1\r\n\r\n",
        b"HMSG a 1 9 3\r\nabc\r\n",
        b"HMSG a 1 3\r\nabc\r\n",
        b"NONSENSE\r\n",
    ],
)
def test_what_is_not_the_protocol_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        asyncio.run(WireParser(Client()).parse(line))


@given(st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=5))
def test_a_header_looked_up_is_the_header_read(named: dict[str, str]) -> None:
    block = "".join(f"{name}: {value}\r\n" for name, value in named.items()) + "\r\n"
    raw = b"NATS/1.0\r\n" + block.encode()
    expected = HeaderClient._parse_header_lines(block.encode())
    for name in ("Nats-Msg-Id", "ce-time", "qt-history", "traceparent", "Status", "none"):
        assert (name in Headers(raw)) == (name in expected)
        assert Headers(raw).get(name) == expected.get(name)
    assert dict(Headers(raw)) == Headers(raw).whole() == expected
    assert len(Headers(raw)) == len(expected)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", ""),
        (b"NATS/1.0\r\nStatus: 7\r\n\r\n", ""),
        (b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\n\r\n", "100"),
        (b"NATS/1.0 408\r\n\r\n", "408"),
    ],
)
def test_the_status_is_that_of_the_first_line(raw: bytes, status: str) -> None:
    assert Headers(raw).status == status


def test_headers_that_are_no_ascii_are_read_as_by_nats_py() -> None:
    raw = "NATS/1.0\r\nqt-reason: größer\r\n\r\n".encode()
    assert Headers(raw)["qt-reason"] == "größer"
    assert "qt-reason" in Headers(raw)


@given(st.dictionaries(HEADER_NAMES, st.text("ab \r\n:ü", max_size=8), max_size=4), st.binary())
def test_a_published_message_is_read_back_or_left_to_nats_py(
    headers: dict[str, str], payload: bytes
) -> None:
    command = publish_with_headers("a.b", "in.1", headers, payload)
    if any("\r" in value or "\n" in value for value in headers.values()):
        assert command is None
        return
    assert command is not None
    client = Client()
    words = command.replace(b"HPUB a.b in.1", b"HMSG a.b 1 in.1", 1)
    asyncio.run(WireParser(client).parse(words))
    ((_, subject, reply, data, raw),) = client.heard
    assert (subject, reply, data) == (b"a.b", b"in.1", payload)
    assert {k: v.strip() for k, v in headers.items()} == dict(Headers(raw or b""))


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB x 0", "a\tb"])
def test_a_subject_that_could_end_the_line_is_left_to_nats_py(subject: str) -> None:
    assert publish_with_headers(subject, "r", {"a": "b"}, b"") is None


def test_a_header_name_that_is_none_is_left_to_nats_py() -> None:
    assert publish_with_headers("a", "r", {"a b": "c"}, b"") is None


def test_commands_are_those_of_the_wire() -> None:
    assert publish_command(b"a.b", b"+ACK") == b"PUB a.b 4\r\n+ACK\r\n"
    asked = pull_command("S", "C", "in", 5, 0.5)
    head, body, _ = asked.split(b"\r\n")
    assert head == b"PUB $JS.API.CONSUMER.MSG.NEXT.S.C in %d" % len(body)
    assert body == b'{"batch":5,"expires":30000000000,"idle_heartbeat":500000000}'
