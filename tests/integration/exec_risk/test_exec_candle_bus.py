"""Candles on a real bus: each once, whatever is tried again and whoever published before."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal

import pytest

from services.catalog import subjects
from services.exec_risk.market.bus_candles import BusCandles
from services.kit.bus.bus import Bus, BusUnavailable, Message, Outgoing
from services.trade.candle import Candle
from services.trade.codec import candles_from_bytes
from tests.support.eventually import eventually

MINUTE = 60_000
SYMBOLS = [f"S{number:03}USDT" for number in range(300)]


def candle(symbol: str, minute: int) -> Candle:
    one = Decimal(minute)
    return Candle("paper", symbol, "1m", minute * MINUTE, one, one, one, one, one)


def closed(minute: int, symbols: Sequence[str] = SYMBOLS) -> list[Candle]:
    return [candle(symbol, minute) for symbol in symbols]


class Read:
    """What followers of the market got."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def take(self, message: Message) -> None:
        self.messages.append(message)

    def live(self) -> Counter[str]:
        """How often each candle came that is to be predicted."""
        return Counter(
            candle.key
            for message in self.messages
            if subjects.HEADER_HISTORY not in message.headers
            for candle in candles_from_bytes(message.data).candles
        )


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(nats_url, "test")
    await bus.declare([subjects.MARKET])
    await bus.client.jetstream().purge_stream(subjects.MARKET.name)
    yield bus
    await bus.close()


@pytest.fixture
async def read(bus: Bus) -> Read:
    found = Read()
    await bus.follow(subjects.MARKET.name, subjects.ALL_OF_MARKET, found.take)
    return found


async def test_a_round_travels_in_few_messages_and_the_stream_keeps_rounds_whole(
    bus: Bus, read: Read
) -> None:
    """Incident 65: what is kept is bounded by rounds, however many messages one has."""
    kept = subjects.MARKET.max_messages_per_subject
    candles = BusCandles(bus)
    few = SYMBOLS[:3]
    await candles.publish(closed(1), history=False)
    for minute in range(2, kept + 2):
        await candles.publish(closed(minute, few[:1]), history=False)
        await candles.publish(closed(minute, few[1:]), history=False)
    await eventually(lambda: len(read.messages) == 3 + 2 * kept)
    assert [len(candles_from_bytes(m.data).candles) for m in read.messages[:3]] == [128, 128, 44]
    stored = await bus.stored(subjects.MARKET.name, subjects.ALL_OF_MARKET, "all")
    whole = Counter(
        c.open_time // MINUTE for m in stored for c in candles_from_bytes(m.data).candles
    )
    assert all(whole[minute] == len(few) for minute in range(2, kept + 2))
    assert whole[1] == 44, "the first round had one message more than those after it"


async def test_the_next_term_publishes_only_what_the_one_before_did_not(
    bus: Bus, read: Read
) -> None:
    """A leader that died in the middle of a round, or right after it."""
    first = BusCandles(bus)
    await first.publish([candle("AUSDT", n) for n in range(1, 9)], history=True)
    await first.publish(closed(9), history=False)
    await first.publish(closed(10, SYMBOLS[:140]), history=False)
    second = BusCandles(bus)
    await second.publish(closed(9), history=False)
    await second.publish(closed(10), history=False)
    await second.publish([candle("AUSDT", n) for n in range(5, 11)], history=True)
    await second.publish(closed(11), history=False)
    await second.publish(closed(11), history=False)
    await eventually(lambda: read.live().total() >= 900)
    assert read.live() == Counter(c.key for n in (9, 10, 11) for c in closed(n))
    past = [m for m in read.messages if subjects.HEADER_HISTORY in m.headers]
    opened = [[c.open_time // MINUTE for c in candles_from_bytes(m.data).candles] for m in past]
    assert opened == [list(range(1, 9)), [9, 10]]


class LosesAnswers:
    """The real bus, whose first answer is lost: what it stored is not known."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.lost = 0
        self.stored, self.last_sequence = bus.stored, bus.last_sequence

    async def publish_all(self, messages: Sequence[Outgoing]) -> list[int]:
        found = await self._bus.publish_all(messages)
        if not self.lost:
            self.lost += 1
            raise BusUnavailable("no acknowledgement")
        return found


async def test_what_is_published_again_after_a_lost_answer_is_there_once(
    bus: Bus, read: Read
) -> None:
    told: list[tuple[int, str]] = []
    lossy = LosesAnswers(bus)
    candles = BusCandles(
        lossy,  # type: ignore[arg-type] # as much of a bus as is needed
        on_published=lambda part, message, *_: told.append((len(part), message.message_id)),
    )
    with pytest.raises(BusUnavailable):
        await candles.publish(closed(1), history=False)
    await candles.publish(closed(1), history=False)
    await candles.publish(closed(2), history=False)
    await eventually(lambda: read.live().total() >= 600)
    assert read.live() == Counter(c.key for n in (1, 2) for c in closed(n))
    assert told == [(len(candles_from_bytes(m.data).candles), m.message_id) for m in read.messages]


async def test_what_cannot_be_read_holds_nothing_up(bus: Bus, read: Read) -> None:
    """Incident 63: a foreign message where candles are."""
    await bus.publish(subjects.past_candles("paper", "1m", "AUSDT"), b"\xff\xfe", message_id="bad")
    await bus.publish("quantum.market.price.paper.AUSDT", b"no candle", message_id="price")
    await BusCandles(bus).publish([candle("AUSDT", 1)], history=True)
    await eventually(lambda: len(read.messages) == 3)
    assert candles_from_bytes(read.messages[-1].data).candles == [candle("AUSDT", 1)]
