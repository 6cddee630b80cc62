"""Malformed requests from a seed: bytes as a broken or hostile client would send them."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATHS = (
    "/v1/ai/health",
    "/v1/exec-risk/validate",
    "/quantum.exec_risk.v1.ExecRiskService/ValidateRisk",
    "/quantum.ai.v1.AiService/GetSignal",
    "/grpc.health.v1.Health/Check",
)
CONTENT = (
    "application/json",
    "application/grpc",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "text/\x01",
)
BODIES = (
    b"{" * 2_000,
    b'{"symbol": "\xff\xfe"}',
    b'{"leverage": 1e999}',
    b'{"leverage": "' + b"9" * 400 + b'"}',
    b'{"unknown": {}}',
    b"[]",
    b"",
    b"\x00\xff\xff\xff\xff" + b"x" * 20,
    b"\x01\x00\x00\x00\x05\x0a\xff\xff\xff\x7f",
    b"AAAAAAA=" * 9,
)


GRPC_BODIES = (
    b"",
    b"\x00",
    b"\x00\x00\x00\x00\x05",
    b"\x00\x00\x00\x00\x02\x0a\xff",
    b"\x01\x00\x00\x00\x03abc",
    b"\x07\x00\x00\x00\x00",
    b"\x00\xff\xff\xff\xff" + b"x" * 64,
    b"\x00\x00\x00\x00\x00" * 40,
    b"\x00\x00\x00\x00\x0b\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
)
"""Flags, lengths and messages of gRPC that are none."""


def request(seed: int) -> bytes:
    """Return the bytes of one request; the same seed gives the same bytes."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    kinds: tuple[Callable[[random.Random], bytes], ...] = (
        _http1,
        _broken,
        _frames,
        _garbage,
        _grpc,
    )
    return kinds[seed % len(kinds)](chance)


def _http1(chance: random.Random) -> bytes:
    body = chance.choice(BODIES)
    length = chance.choice([len(body), len(body), len(body) + 7, -1, "x", 10**30])
    headers = [
        f"Host: {chance.choice(['localhost', '', 'a b', '127.0.0.1:99999'])}",
        f"Content-Type: {chance.choice(CONTENT)}",
        f"Content-Length: {length}",
        chance.choice(["Transfer-Encoding: chunked", "X-A: b", "X_a: b", "A" * 3_000 + ": b"]),
        f"Authorization: Bearer {chance.choice(['', 'a.b.c', 'e30.e30.', chr(0)])}",
        f"grpc-timeout: {chance.choice(['1n', '99999999999H', '-1S', ''])}",
    ]
    chance.shuffle(headers)
    verb = chance.choice(["GET", "POST", "POST", "OPTIONS", "BREW", ""])
    path = chance.choice(PATHS) + chance.choice(["", "?" + "a=b&" * 50, "/../..", "%00", "%2f"])
    lines = [f"{verb} {path} HTTP/1.1", *headers, "", ""]
    return "\r\n".join(lines).encode("utf-8", "replace") + body


def _broken(chance: random.Random) -> bytes:
    """Return a plausible request of which some bytes were changed."""
    whole = bytearray(_http1(chance))
    for _ in range(chance.randrange(1, 12)):
        whole[chance.randrange(len(whole))] = chance.randrange(256)
    return bytes(whole[: chance.randrange(1, len(whole) + 1)])


def _frames(chance: random.Random) -> bytes:
    """Return HTTP/2 frames of any type, flag and stream, in any order."""
    frames = [_frame(4, 0, 0, b"")] if chance.random() < 0.8 else []
    for _ in range(chance.randrange(1, 30)):
        payload = chance.choice([chance.randbytes(chance.randrange(64)), b"\x82\x86\x84\x41"])
        kind, flags = chance.randrange(12), chance.randrange(256)
        frames.append(_frame(kind, flags, chance.choice([0, 1, 2, 3, 2**31 - 1]), payload))
    return PREFACE + b"".join(frames)


def _grpc(chance: random.Random) -> bytes:
    """Return calls in well-formed HTTP/2 whose headers or messages gRPC does not know."""
    frames = [_frame(4, 0, 0, b"")]
    for number in range(chance.randrange(1, 6)):
        stream = 2 * number + 1
        headers = [
            (":method", chance.choice(["POST", "POST", "POST", "PUT", "CONNECT"])),
            (":scheme", chance.choice(["http", "https"])),
            (":path", chance.choice([*PATHS[2:], "/x", "//", "*"])),
            (":authority", "localhost"),
            ("content-type", chance.choice([CONTENT[1], "application/grpc+json", CONTENT[2]])),
            ("te", "trailers"),
            ("grpc-timeout", chance.choice(["1n", "0S", "99999999H", "-1m", "x", "1" * 40])),
            ("grpc-encoding", chance.choice(["identity", "gzip", "snappy", ""])),
            ("traceparent", chance.choice(["", "00", "00-" + "0" * 32 + "-x-01", "f" * 90])),
            ("grpc-trace-bin", chance.choice(["", "!!!!", "AAAA"])),
            ("authorization", "Bearer " + chance.choice(["", "a.b.c", "e30.e30.e30", "." * 60])),
        ]
        if chance.random() < 0.3:
            headers.pop(chance.randrange(len(headers)))
        if chance.random() < 0.2:
            chance.shuffle(headers)
        block = b"".join(_literal(name, value) for name, value in headers)
        frames.append(_frame(1, 4, stream, block))
        body = chance.choice(GRPC_BODIES)
        for part in range(chance.randrange(3)):
            frames.append(_frame(0, 0, stream, body[part:]))
        if chance.random() < 0.7:
            frames.append(_frame(0, 1, stream, body))
    return PREFACE + b"".join(frames)


def _literal(name: str, value: str) -> bytes:
    """Return a header as HPACK writes it without a table."""
    return b"\x00" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + _number(stream) + payload


def _number(stream: int) -> bytes:
    return struct.pack(">I", stream)


def _garbage(chance: random.Random) -> bytes:
    start = chance.choice([b"", PREFACE, b"\x16\x03\x01", b"POST / HTTP/1.1\r\n"])
    return start + chance.randbytes(chance.randrange(1, 600))
