"""Closed candles into PostgreSQL: they tell how far the price went while a trade was open."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from quantum.market.v1 import market_pb2

from services.kit.bus import Delivery
from services.kit.db import Database
from services.kit.logs import get_logger
from services.trade.candle import Candle
from services.trade.codec import CodecError, candle_from_pb
from services.trade.times import timeframe_ms, to_datetime

log = get_logger(__name__)

_SERIES = """
insert into candle_series (venue, symbol, timeframe, length_ms)
select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) on conflict do nothing
"""
_CANDLES = """
insert into candles (venue, symbol, timeframe, open_time, open, high, low, close)
select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::numeric[],
    $6::numeric[], $7::numeric[], $8::numeric[])
on conflict do nothing
"""


class CandleStore:
    """Keeps candles, each once; history that is published again changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._series: set[tuple[str, str, str]] = set()

    async def handle(self, deliveries: list[Delivery]) -> None:
        """Keep a batch; what cannot be read is dead-lettered, an error brings all of it again."""
        candles = []
        for delivery in deliveries:
            try:
                candles.append(candle_from_pb(market_pb2.Candle.FromString(delivery.data)))
            except (DecodeError, CodecError) as error:
                log.error("candle_unreadable", subject=delivery.subject, error=str(error))
                await delivery.reject(str(error))
        await self.keep(candles)

    async def keep(self, candles: Sequence[Candle]) -> None:
        """Write candles that are not there yet."""
        # One order in every replica, so that two that write the same ones cannot deadlock.
        by_key = {(c.venue, c.symbol, c.timeframe, c.open_time): c for c in candles}
        ordered = [by_key[key] for key in sorted(by_key)]
        if not ordered:
            return
        series = sorted({(c.venue, c.symbol, c.timeframe) for c in ordered} - self._series)
        async with self._database.transaction() as connection:
            if series:
                names = list(zip(*series, strict=True))
                lengths = [timeframe_ms(timeframe) for *_, timeframe in series]
                await connection.execute(_SERIES, *map(list, names), lengths)
            await connection.execute(
                _CANDLES,
                [c.venue for c in ordered],
                [c.symbol for c in ordered],
                [c.timeframe for c in ordered],
                [to_datetime(c.open_time) for c in ordered],
                [c.open for c in ordered],
                [c.high for c in ordered],
                [c.low for c in ordered],
                [c.close for c in ordered],
            )
        self._series.update(series)
