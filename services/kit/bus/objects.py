"""Objects in the bus's object store: written once, checked whenever they are read.

The layout is the one of NATS object stores, so that `nats object` and nats-py read it too. Their
own writing needs rollup headers and the right to purge, with which an object could be replaced;
here a name is given once. nats-py's reading may wait for ever for a chunk that does not come.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from services.kit.bus.bus import Bus, BusRefused, BusUnavailable, Follower, Message, Outgoing
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

_CHUNK = 128 << 10
_READ_SECONDS = 30.0
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"


class ObjectExists(Exception):
    """The name holds other content; what is stored never changes."""


class ObjectDamaged(Exception):
    """What is stored is not what its description says; the message names the difference."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Description of a stored object."""

    name: str
    size: int
    chunks: int
    sha256: str
    """Of the content, hexadecimal."""
    stored_at: datetime
    metadata: Mapping[str, str]
    place: str
    """Part of the subject that its chunks lie on."""


class Objects:
    """One bucket."""

    def __init__(self, bus: Bus, bucket: str) -> None:
        self._bus = bus
        self._stream = f"OBJ_{bucket}"
        self._bucket = bucket
        self._known: dict[str, ObjectInfo] = {}
        self._follower: Follower | None = None

    async def put(
        self, name: str, content: bytes, metadata: Mapping[str, str], now: datetime
    ) -> bool:
        """Store an object; False when this name holds this content already.

        ObjectExists when it holds other content, of which nothing changes; BusRefused without the
        right to publish to `$O.<bucket>.>`, BusUnavailable when the server does not answer.
        """
        if await self._same(name, content):
            return False
        place = secrets.token_hex(16)
        chunks = [content[start : start + _CHUNK] for start in range(0, len(content), _CHUNK)]
        await self._bus.publish_all(
            [
                Outgoing(f"$O.{self._bucket}.C.{place}", chunk, f"obj-{place}-{number}")
                for number, chunk in enumerate(chunks)
            ],
            deadline=_READ_SECONDS,
        )
        info = {
            "name": name,
            "bucket": self._bucket,
            "nuid": place,
            "size": len(content),
            "chunks": len(chunks),
            "mtime": now.isoformat(),
            "digest": _digest(content),
            "metadata": dict(metadata),
            "options": {"max_chunk_size": _CHUNK},
        }
        try:
            await self._bus.publish(
                _described(self._bucket, name),
                json.dumps(info).encode(),
                message_id=f"obj-{place}",
                headers={_EXPECTED: "0"},
            )
        except BusRefused:
            # Somebody stored this name since it was looked for: whose content is it?
            if await self._same(name, content):
                return False
            raise
        return True

    async def _same(self, name: str, content: bytes) -> bool:
        held = await self.info(name)
        if held is None:
            return False
        if held.sha256 != hashlib.sha256(content).hexdigest():
            raise ObjectExists(f"{name} is stored with other content")
        return True

    async def info(self, name: str) -> ObjectInfo | None:
        """Return the description of an object; None when there is none of this name."""
        message = await self._bus.last(self._stream, _described(self._bucket, name))
        return None if message is None else _read_info(message.data)

    async def get(self, name: str) -> bytes | None:
        """Return an object; None when there is none of this name.

        ObjectDamaged when it is not what its description says, BusUnavailable when it does not
        come in time.
        """
        info = await self.info(name)
        if info is None:
            return None
        content = await self._read(info)
        found = hashlib.sha256(content).hexdigest()
        if found != info.sha256:
            text = f"{name}: SHA-256 is {found[:12]}..., stored was {info.sha256[:12]}..."
            raise ObjectDamaged(text)
        return content

    async def _read(self, info: ObjectInfo) -> bytes:
        if not info.size:
            return b""
        parts: list[bytes] = []
        reader = Follower(
            self._bus.client,
            self._stream,
            f"$O.{self._bucket}.C.{info.place}",
            lambda message: parts.append(message.data),
            "all",
            self._bus.denials,
        )
        try:
            async with asyncio.timeout(_READ_SECONDS):
                await reader.start()
                await reader.caught_up.wait()
        except TimeoutError as error:
            raise BusUnavailable(f"{info.name} did not come within {_READ_SECONDS} s") from error
        finally:
            await reader.stop()
        return b"".join(parts)

    async def follow(self) -> None:
        """Begin to know all objects: returns when those that are stored are known."""
        self._follower = await self._bus.follow(
            self._stream, f"$O.{self._bucket}.M.>", self._learn, start="all"
        )
        await self._follower.caught_up.wait()

    def _learn(self, message: Message) -> None:
        try:
            info = _read_info(message.data)
        except ObjectDamaged as error:
            log.warning("object_unreadable", subject=message.subject, reason=str(error))
            return
        self._known.setdefault(info.name, info)

    @property
    def known(self) -> Mapping[str, ObjectInfo]:
        """All objects by name, once they are followed."""
        return dict(self._known)


def _described(bucket: str, name: str) -> str:
    return f"$O.{bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def _digest(content: bytes) -> str:
    return "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()


def _read_info(data: bytes) -> ObjectInfo:
    try:
        raw = json.loads(data)
        digest = base64.urlsafe_b64decode(raw["digest"].partition("=")[2])
        stored_at = datetime.fromisoformat(raw["mtime"])
        return ObjectInfo(
            name=str(raw["name"]),
            size=int(raw["size"]),
            chunks=int(raw["chunks"]),
            sha256=digest.hex(),
            stored_at=stored_at if stored_at.tzinfo else stored_at.replace(tzinfo=UTC),
            metadata={str(k): str(v) for k, v in (raw.get("metadata") or {}).items()},
            place=str(raw["nuid"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        text = f"description of an object: {type(error).__name__}: {error}"
        raise ObjectDamaged(text) from error
