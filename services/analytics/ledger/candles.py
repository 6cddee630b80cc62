"""Closed candles into PostgreSQL: they tell how far the price went while a trade was open."""

from __future__ import annotations

from collections.abc import Sequence

from services.catalog.subjects import has_candles
from services.kit.bus.bus import Delivery
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import Database
from services.trade.candle import Candle
from services.trade.codec import CodecError, candles_from_bytes
from services.trade.times import DAY_MS, timeframe_ms, to_datetime

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


# By market time, as old events are archived by theirs: a market of long ago is kept while it runs.
_FORGET = """
delete from candles c using candle_series s
where c.venue = s.venue and c.symbol = s.symbol and c.timeframe = s.timeframe
    and c.open_time < (select max(time) from portfolio) - $1 * interval '1 day'
"""


class CandleStore:
    """Keeps candles, each once; history that is published again changes nothing."""

    def __init__(self, database: Database, *, days: int) -> None:
        """`days` of market time before the newest round are kept."""
        self._database = database
        self._days = days
        self._forgotten = 0
        self._series: set[tuple[str, str, str]] = set()

    async def handle(self, deliveries: list[Delivery]) -> None:
        """Keep a batch; a message in which something cannot be read is dead-lettered besides.

        An error brings all of it again.
        """
        candles: list[Candle] = []
        unreadable: list[tuple[Delivery, str]] = []
        for delivery in deliveries:
            if not has_candles(delivery.subject):
                continue
            try:
                found = candles_from_bytes(delivery.data)
            except CodecError as error:
                unreadable.append((delivery, str(error)))
                continue
            candles += found.candles
            if found.refused:
                unreadable.append((delivery, found.refused[0]))
        await self.keep(candles)
        for delivery, reason in unreadable:
            log.error("candle_unreadable", subject=delivery.subject, error=reason)
            await delivery.reject(reason)

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
        day = max(c.open_time for c in ordered) // DAY_MS
        if day > self._forgotten:
            self._forgotten = day
            await self.forget()

    async def forget(self) -> None:
        """Remove candles that are too old; the trades of their time keep what they earned."""
        status = await self._database.pool.execute(_FORGET, self._days)
        log.info("candles_forgotten", candles=int(status.split()[-1]), days=self._days)
