"""How far the durable consumers are and how full the streams, as JetStream tells."""

from __future__ import annotations

import asyncio

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from services.analytics.core.health import Part
from services.analytics.core.work import Consumer
from services.catalog.subjects import DURABLE_CONSUMERS, STREAMS
from services.kit.bus.bus import Bus, BusDenied

ANSWER_SECONDS = 2.0
FULL_SHARE = 0.8
"""From this share of its bytes on a stream that refuses is an alert."""
_WENT_WRONG: tuple[type[Exception], ...] = (NatsError, TimeoutError, BusDenied)


async def consumers(bus: Bus) -> list[Consumer]:
    """Return the durable consumers that exist; none while JetStream does not answer."""
    found = await asyncio.gather(*(_consumer(bus, *names) for names in DURABLE_CONSUMERS))
    return [consumer for consumer in found if consumer is not None]


async def _consumer(bus: Bus, stream: str, name: str, service: str) -> Consumer | None:
    context = bus.client.jetstream(timeout=ANSWER_SECONDS)
    try:
        asked = f"$JS.API.CONSUMER.INFO.{stream}.{name}"
        info = await bus.denials.guard(asked, context.consumer_info(stream, name))
    except NotFoundError:
        return None  # nobody has worked on it yet
    except _WENT_WRONG:
        return None
    floor = info.ack_floor.stream_seq if info.ack_floor else 0
    return Consumer(
        stream=stream,
        name=name,
        service=service,
        waiting=int(info.num_pending or 0),
        unsettled=int(info.num_ack_pending or 0),
        settled=int(floor),
    )


async def jetstream(bus: Bus) -> tuple[Part, dict[str, float]]:
    """Return how JetStream is, and the filled share of each stream by name."""
    context = bus.client.jetstream(timeout=ANSWER_SECONDS)
    shares: dict[str, float] = {}
    for stream in STREAMS:
        try:
            asked = f"$JS.API.STREAM.INFO.{stream.name}"
            info = await bus.denials.guard(asked, context.stream_info(stream.name))
        except NotFoundError:
            return Part("jetstream", False, f"stream {stream.name} is missing"), shares
        except _WENT_WRONG as error:
            reason = f"does not answer for {stream.name} ({type(error).__name__})"
            return Part("jetstream", False, reason), shares
        shares[stream.name] = info.state.bytes / stream.max_bytes
    return Part("jetstream", True), shares


def filling(shares: dict[str, float]) -> dict[str, float]:
    """Return the streams that refuse when full and are nearly so."""
    return {
        stream.name: shares[stream.name]
        for stream in STREAMS
        if stream.discard_new and shares.get(stream.name, 0.0) >= FULL_SHARE
    }
