"""The server's side of the NATS wire, read without a task, a queue or a dictionary a message.

nats-py matches each message with regular expressions, takes its headers apart and wakes the task
of its subscription: together more than half of what a candle cost. Here a message of a subscription
that has a direct receiver goes to it at once, as the bytes that came. All others, and every line
that is no message, are left to nats-py's own code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from services.kit.observe.logs import get_logger

log = get_logger(__name__)

Receive = Callable[[bytes, bytes, bytes, bytes], None]
"""Takes subject, reply subject, block of headers and payload; nothing else is read meanwhile."""

_END = b"\r\n"
_PLACES = {b"MSG": (4, 5), b"HMSG": (5, 6)}
"""Words of a message's line, without and with a reply subject."""


class WireParser(Parser):
    """Stands in a client in place of nats-py's parser."""

    def __init__(self, client: Any) -> None:
        self.direct: dict[int, Receive] = {}
        """Receivers by the subscription's number."""
        super().__init__(client)

    def reset(self) -> None:
        """Forget what was read in part: the connection is a new one."""
        super().reset()
        self._rest = b""

    async def parse(self, data: bytes = b"") -> None:
        """Read what came; ProtocolError when it is not the protocol's."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = 0
        while (line := data.find(_END, at)) >= 0:
            words = data[at:line].split()
            if not words or words[0] not in _PLACES:
                await self._control(data[at : line + 2])
                at = line + 2
                continue
            sid, reply, header, size = _numbers(words)
            begin = line + 2
            stop = begin + size
            if stop + 2 > len(data):
                break
            at = stop + 2
            payload = data[begin + header : stop]
            receive = self.direct.get(sid)
            if receive is not None:
                try:
                    receive(words[1], reply, data[begin : begin + header], payload)
                except Exception:
                    # An error here would end the reading of the whole connection.
                    log.exception("direct_receiver_failed", subject=words[1].decode())
                continue
            raw = data[begin : begin + header] if header else None
            await self.nc._process_msg(sid, words[1], reply, payload, raw)
        self._rest = data[at:]

    async def _control(self, line: bytes) -> None:
        await super().parse(line)
        if self.buf:
            raise ProtocolError("nats: unknown protocol")


def _numbers(words: list[bytes]) -> tuple[int, bytes, int, int]:
    """Return a message's subscription, reply subject, bytes of headers, and bytes in all."""
    plain, replied = _PLACES[words[0]]
    try:
        header, size = (int(words[-2]) if plain == 5 else 0), int(words[-1])
        if len(words) in (plain, replied) and 0 <= header <= size:
            return int(words[2]), words[3] if len(words) == replied else b"", header, size
    except ValueError as error:
        raise ProtocolError(f"nats: malformed {words[0]!r}") from error
    raise ProtocolError(f"nats: malformed {words[0]!r}")
