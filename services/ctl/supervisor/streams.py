"""The streams of the bus are declared by one: the operator, before any service starts."""

from __future__ import annotations

from services.catalog.subjects import STREAMS
from services.kit.bus.bus import Bus
from services.kit.bus.login import BusLogin


async def declare(url: str, login: BusLogin, replicas: int = 1) -> None:
    """Create the streams, or bring existing ones to their declared limits."""
    bus = await Bus.connect(url, "streams", login)
    try:
        await bus.declare(STREAMS, replicas)
    finally:
        await bus.close()
