"""Streams as they are declared, and how the ones of a server differ from that."""

from __future__ import annotations

from typing import Any

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from services.catalog.subjects import Stream


def stream_config(stream: Stream, replicas: int = 1) -> StreamConfig:
    """Return the configuration of a stream that so many servers hold.

    Direct reads stay off: their answer is a stored message, whole, under whatever subject the
    asker names, also one that it may not publish to or one of the server's own interface.
    """
    return StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.WORK_QUEUE if stream.work_queue else RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW if stream.discard_new else DiscardPolicy.OLD,
        max_age=stream.max_age_seconds,
        max_msgs_per_subject=stream.max_messages_per_subject,
        max_bytes=stream.max_bytes,
        duplicate_window=stream.duplicate_window_seconds,
        allow_direct=False,
        num_replicas=replicas,
    )


_COMPARED = (
    "subjects",
    "retention",
    "storage",
    "discard",
    "max_age",
    "max_msgs_per_subject",
    "max_bytes",
    "duplicate_window",
    "allow_direct",
    # never declared: whoever could set one would feed the stream, or others from it, unseen
    "mirror",
    "sources",
    "republish",
    "subject_transform",
)


def differences(stream: Stream, found: StreamConfig) -> list[str]:
    """Return what differs from the declaration: `MARKET.max_bytes is 1, not 2`."""
    declared = stream_config(stream)
    lines = []
    for field in _COMPARED:
        wanted, held = getattr(declared, field), getattr(found, field)
        if (wanted or None) != (held or None):
            lines.append(f"{stream.name}.{field} is {_shown(held)}, not {_shown(wanted)}")
    return lines


def _shown(value: Any) -> str:
    return str(getattr(value, "value", value))
