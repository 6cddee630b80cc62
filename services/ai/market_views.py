"""What the candles say beyond single predictions: the regime of a market and the best symbols.

Every replica comes to the same at the same market time and says it under the same id, so the bus
keeps one. What was said last is read back from the bus: a fresh replica goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from quantum.ai.v1 import universe_pb2 as pb
from quantum.exec_risk.v1 import events_pb2 as facts

from services.ai.core.manifest import Manifest
from services.ai.core.regime import BARS as REGIME_BARS
from services.ai.core.regime import LEADER, Reading, Regime, read_regime
from services.ai.core.universe import BARS, MIN_SCORE, WEIGHTS, Opportunity, TradeRecord, rank
from services.ai.core.windows import SeriesKey, Windows
from services.ai.measures import Measures
from services.catalog import subjects
from services.catalog.events import REGIME_CHANGED, UNIVERSE_OPPORTUNITY
from services.catalog.processes import AI
from services.kit.bus.bus import Bus, BusUnavailable, Message, Outgoing
from services.kit.observe.logs import get_logger
from services.kit.observe.trace_context import traceparent
from services.trade.candle import Candle
from services.trade.codec import decimal_from_pb, time_from_pb, time_to_pb
from services.trade.ids import digest, trace_id
from services.trade.times import timeframe_ms

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UniverseSettings:
    """When the universe is scanned, and how much of a scan is kept."""

    enabled: bool
    interval_ms: int
    """Market time from scan to scan."""
    top: int


class MarketViews:
    """Reads the regime after every round, and ranks the universe after some."""

    def __init__(
        self,
        *,
        windows: Windows,
        manifest: Callable[[], Manifest | None],
        settings: UniverseSettings,
        measures: Measures,
    ) -> None:
        self._windows = windows
        self._manifest = manifest
        self._settings = settings
        self._measures = measures
        self._record = TradeRecord()
        self._regimes: dict[str, Regime] = {}
        self._scans: dict[str, pb.UniverseOpportunity] = {}
        self._rounds: dict[str, int] = {}
        """Newest round by venue; the one before it is over."""
        self._over: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

    @property
    def newest(self) -> pb.UniverseOpportunity | None:
        """The last scan of any venue; None before the first."""
        return max(self._scans.values(), key=_time_of, default=None)

    def take(self, candle: Candle) -> None:
        """Note a candle that was put into the windows: a round that it begins ends the last."""
        manifest = self._manifest()
        if manifest is None or candle.timeframe != manifest.timeframe:
            return
        closes, newest = candle.close_time, self._rounds.get(candle.venue, 0)
        if closes > newest:
            self._rounds[candle.venue] = closes
            if newest:
                self._over.put_nowait((candle.venue, newest))

    async def run(self, bus: Bus) -> None:
        """Read what was said before, then look at every round that is over, for ever."""
        live, events = subjects.LIVE.name, subjects.EVENTS.name
        for subject, handler in (
            (subjects.ALL_REGIMES, self._regime_said),
            (subjects.ALL_OPPORTUNITIES, self._scan_said),
        ):
            follower = await bus.follow(live, subject, handler, start="last")
            await follower.caught_up.wait()
        closed = await bus.follow(events, subjects.ALL_CLOSED_POSITIONS, self._closed, start="all")
        await closed.caught_up.wait()
        while True:
            venue, time = await self._over.get()
            try:
                await self._look(bus, venue, time)
            except BusUnavailable as error:
                # The next round says what this one could not.
                log.warning("market_view_not_said", venue=venue, error=str(error))

    async def _look(self, bus: Bus, venue: str, time: int) -> None:
        manifest = self._manifest()
        if manifest is None:
            return
        step = timeframe_ms(manifest.timeframe)
        leader = SeriesKey(venue, LEADER, manifest.timeframe)
        reading = read_regime(self._windows.window(leader, time - step, REGIME_BARS))
        before = self._regimes.get(venue, Regime.UNKNOWN)
        if reading.regime not in (Regime.UNKNOWN, before):
            changed = regime_to_pb(venue, time, reading, before)
            await self._say(bus, subjects.regime_changed(venue), REGIME_CHANGED, time, changed)
            self._regimes[venue] = reading.regime
            log.info("regime_changed", venue=venue, regime=reading.regime.value)
        if self._is_due(venue, time):
            found = self._windows.all_ending(venue, manifest.timeframe, time - step, BARS)
            regime = self._regimes.get(venue, Regime.UNKNOWN)
            ranked = await asyncio.to_thread(rank, found, step, regime, self._record)
            scan = scan_to_pb(venue, time, ranked, regime, self._settings.top)
            said = subjects.opportunity(venue)
            await self._say(bus, said, UNIVERSE_OPPORTUNITY, time, scan)
            self._scans[venue] = scan

    def _is_due(self, venue: str, time: int) -> bool:
        interval = self._settings.interval_ms
        last = _time_of(self._scans[venue]) if venue in self._scans else 0
        return self._settings.enabled and time // interval > last // interval

    async def _say(
        self,
        bus: Bus,
        subject: str,
        event_type: str,
        time: int,
        message: pb.RegimeChanged | pb.UniverseOpportunity,
    ) -> None:
        # The round names the message: what another replica says of it is the same.
        key = digest(event_type, message.venue, str(time), length=28)
        headers = {
            subjects.HEADER_TYPE: event_type,
            subjects.HEADER_SOURCE: AI.name,
            subjects.HEADER_TIME: str(time),
            subjects.HEADER_TRACE: traceparent(trace_id(key)),
        }
        data = message.SerializeToString(deterministic=True)
        await bus.publish_all([Outgoing(subject, data, f"view-{key}", headers)])
        self._measures.published.labels(event_type).inc()

    def _regime_said(self, message: Message) -> None:
        found = pb.RegimeChanged.FromString(message.data)
        self._regimes[found.venue] = regime_from_pb(found.regime)

    def _scan_said(self, message: Message) -> None:
        found = pb.UniverseOpportunity.FromString(message.data)
        held = self._scans.get(found.venue)
        if held is None or _time_of(held) <= _time_of(found):
            self._scans[found.venue] = found

    def _closed(self, message: Message) -> None:
        try:
            found = facts.PositionClosed.FromString(message.data)
            won = decimal_from_pb(found.pnl_usd, "pnl_usd") > 0
        except (DecodeError, ValueError) as error:
            self._measures.errors.labels("bad_position").inc()
            log.warning("bad_position", subject=message.subject, reason=str(error))
            return
        self._record.take(found.symbol, won=won)


def regime_from_pb(number: int) -> Regime:
    """Return the regime of a contract's number; what is not known is UNKNOWN, never an error."""
    return next((r for r in Regime if _regime_number(r) == number), Regime.UNKNOWN)


def _regime_number(regime: Regime) -> pb.MarketRegime.ValueType:
    return pb.MarketRegime.Value(f"MARKET_REGIME_{regime.value}")


def regime_to_pb(venue: str, time: int, reading: Reading, before: Regime) -> pb.RegimeChanged:
    """Write a change of the regime."""
    return pb.RegimeChanged(
        venue=venue,
        symbol=LEADER,
        regime=_regime_number(reading.regime),
        previous=_regime_number(before),
        deviation=reading.deviation,
        atr_ratio=reading.atr_ratio,
        time=time_to_pb(time),
    )


def scan_to_pb(
    venue: str, time: int, ranked: list[Opportunity], regime: Regime, top: int
) -> pb.UniverseOpportunity:
    """Write the best of a scan."""
    best = [one for one in ranked if one.score >= MIN_SCORE][:top]
    return pb.UniverseOpportunity(
        venue=venue,
        ranked_symbols=[
            pb.Opportunity(
                symbol=one.symbol,
                score=one.score,
                grade=one.grade.value,
                reason=one.reason,
                marks=one.marks,
            )
            for one in best
        ],
        total_scanned=len(ranked),
        criteria_weights=WEIGHTS,
        regime=_regime_number(regime),
        timestamp=time_to_pb(time),
    )


def _time_of(scan: pb.UniverseOpportunity) -> int:
    return time_from_pb(scan.timestamp)
