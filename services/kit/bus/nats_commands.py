"""Commands of the NATS wire, as bytes ready to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

_PLAIN_NAMES = frozenset("-_.") | frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
)


def publish_command(subject: bytes, payload: bytes) -> bytes:
    """Publish without headers and without a reply."""
    return b"PUB %b %d\r\n%b\r\n" % (subject, len(payload), payload)


def publish_with_headers(
    subject: str, reply: str, headers: Mapping[str, str], payload: bytes
) -> bytes | None:
    """Publish with headers; None for a subject or headers that nats-py should judge."""
    if not subject or " " in subject or not subject.isprintable():
        return None
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    block = f"NATS/1.0\r\n{text}\r\n".encode()
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        return None
    if not all(map(_plain_name, headers)):
        return None
    head = f"HPUB {subject} {reply} {len(block)} {len(block) + len(payload)}\r\n".encode()
    return b"%b%b%b\r\n" % (head, block, payload)


@lru_cache(maxsize=256)
def _plain_name(name: str) -> bool:
    return bool(name) and set(name) <= _PLAIN_NAMES


def pull_command(
    stream: str, consumer: str, inbox: str, batch: int, heartbeat_seconds: float
) -> bytes:
    """Ask a pull consumer for so many messages, to an inbox, with heartbeats meanwhile."""
    body = b'{"batch":%d,"expires":30000000000,"idle_heartbeat":%d}' % (
        batch,
        int(heartbeat_seconds * 1e9),
    )
    asked = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer} {inbox}"
    return publish_command(asked.encode(), body)
