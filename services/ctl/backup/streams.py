"""Streams, buckets and object stores as the server's own snapshots, taken while they are written.

A snapshot keeps sequences, times, headers and durable consumers. What it does not keep is the
memory of message ids: inboxes and outboxes do without it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.kit.bus.bus import Bus, BusUnavailable

_CHUNK = 512 << 10
_BEGIN_SECONDS = 60.0
_END_SECONDS = 600.0


async def snapshot(bus: Bus, stream: str, folder: Path) -> Mapping[str, int]:
    """Write `<stream>.snapshot` and `<stream>.json`; return messages, bytes, first and last."""
    client = bus.client
    inbox = client.new_inbox()
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with (folder / f"{stream}.snapshot").open("wb") as out:

        async def receive(message: Any) -> None:
            if ended.done():
                return
            if not message.data:
                status = (message.headers or {}).get("Status", "204")
                if status == "204":
                    ended.set_result(None)
                else:
                    ended.set_exception(BusUnavailable(f"snapshot of {stream}: {status}"))
                return
            try:
                out.write(message.data)
            except OSError as error:
                ended.set_exception(error)
                return
            if message.reply:
                await client.publish(message.reply, b"")

        asked = {"deliver_subject": inbox, "no_consumers": False, "chunk_size": _CHUNK}
        subscription = await client.subscribe(inbox, cb=receive, pending_bytes_limit=64 << 20)
        try:
            told = await _ask(bus, f"$JS.API.STREAM.SNAPSHOT.{stream}", {**asked, "jsck": True})
            async with asyncio.timeout(_END_SECONDS):
                await ended
        finally:
            await subscription.unsubscribe()
    kept = {"config": told["config"], "state": told["state"]}
    (folder / f"{stream}.json").write_text(json.dumps(kept, indent=2) + "\n")
    return numbers(told["state"])


async def restore(bus: Bus, stream: str, folder: Path) -> Mapping[str, int]:
    """Make the stream as it was; it must not be there. Return its numbers."""
    kept = json.loads((folder / f"{stream}.json").read_text())
    begun = await _ask(bus, f"$JS.API.STREAM.RESTORE.{stream}", kept)
    with (folder / f"{stream}.snapshot").open("rb") as source:
        while chunk := source.read(_CHUNK):
            told = await bus.client.request(begun["deliver_subject"], chunk, timeout=30)
            if told.data:
                raise BusUnavailable(f"{stream} was not taken: {told.data.decode()}")
    end = await bus.client.request(begun["deliver_subject"], b"", timeout=_END_SECONDS)
    return numbers(_checked(stream, json.loads(end.data))["state"])


def numbers(state: Mapping[str, Any]) -> Mapping[str, int]:
    """Return what two states of a stream are compared by."""
    names = {"messages": "messages", "bytes": "bytes", "first": "first_seq", "last": "last_seq"}
    return {name: int(state[key]) for name, key in names.items()}


async def _ask(bus: Bus, subject: str, body: Mapping[str, Any]) -> dict[str, Any]:
    told = await bus.client.request(subject, json.dumps(body).encode(), timeout=_BEGIN_SECONDS)
    return _checked(subject.rpartition(".")[2], json.loads(told.data))


def _checked(stream: str, told: dict[str, Any]) -> dict[str, Any]:
    if "error" in told:
        raise BusUnavailable(f"stream {stream}: {told['error'].get('description', told['error'])}")
    return told
