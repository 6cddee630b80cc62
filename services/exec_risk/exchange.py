"""One account on Binance USDT-M futures, or on the paper venue that speaks like it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ccxt

from services.exec_risk import exchange_parse as parse
from services.exec_risk.core.exchange_events import (
    Accepted,
    ExchangeEvent,
    ExchangeSnapshot,
    OrderReport,
    RequestOutcome,
    SymbolsListed,
)
from services.exec_risk.exchange_client import build_client
from services.exec_risk.exchange_orders import (
    cancel_params,
    find_params,
    is_conditional,
    place_params,
    placed,
    reported,
)
from services.exec_risk.exchange_recovery import Recovery
from services.exec_risk.exchange_requests import (
    ExchangeRefused,
    ExchangeUnavailable,
    Params,
    Requests,
)
from services.exec_risk.exchange_settings import ExchangeSettings
from services.exec_risk.exchange_snapshot import SnapshotReader
from services.exec_risk.exchange_steps import Listed, Missing
from services.exec_risk.exchange_stream_parse import FundingSettled
from services.exec_risk.exchange_streams import Streams
from services.kit.clock import Clock
from services.kit.logs import get_logger
from services.trade.candle import Candle
from services.trade.filters import SymbolFilters
from services.trade.order import Order

log = get_logger(__name__)

UNKNOWN_ORDER_CODES = frozenset({"-2011", "-2013"})
CANDLE_PAGE = 1_000


class ExchangeMisconfigured(Exception):
    """The account is set up in a way in which its orders or its money would be misread."""


class BinanceExchange:
    """Satisfies `services.exec_risk.seams.Exchange`. Reads raise ExchangeRefused or
    ExchangeUnavailable; requests that change something never raise, they return an outcome."""

    def __init__(self, settings: ExchangeSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._streams = Streams(settings, clock)
        self._client = build_client(
            settings, on_event=self._streams.take, on_stream=self._streams.state
        )
        self._requests = Requests(self._client, settings, clock)
        self._snapshots = SnapshotReader(self._client, self._requests, settings)
        self._filters: dict[str, SymbolFilters] = {}
        self._recovery = Recovery(
            funding=self._snapshots.funding,
            candles=lambda symbol: self.history(symbol, settings.timeframe, 3),
            clock=clock,
        )
        self._probing: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """True while requests are answered, the key is accepted and the user stream is open."""
        return self._requests.answered and self._streams.user_up

    @property
    def tells_points(self) -> bool:
        """True for the paper venue, which moves market time in steps and tells each of them."""
        return self._settings.venue == "paper"

    @property
    def symbols(self) -> tuple[str, ...]:
        """Market ids that are followed, in order; empty before `start`."""
        return tuple(sorted(self._filters))

    async def start(self) -> None:
        """Check the account and open the sockets.

        Raises ExchangeMisconfigured, ExchangeRefused, or ExchangeUnavailable (try again).
        """
        await self._requests.probe()
        if not self._requests.answered:
            raise ExchangeUnavailable(f"{self._settings.venue}: no answer to the time request")
        await self._check_account()
        await self.filters()
        if not self._filters:
            raise ExchangeMisconfigured(f"none of {self._settings.symbols} can be traded")
        self._streams.start(self._client, self._filters, self._renew_listen_key)
        self._probing = asyncio.create_task(self._probe())

    async def close(self) -> None:
        """Close sockets and sessions."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await self._streams.stop()
        await self._client.close()

    async def filters(self) -> dict[str, SymbolFilters]:
        """Read the filters of every symbol that can be traded; odd ones are left out (54)."""
        info, brackets = await asyncio.gather(
            self._requests.read(self._client.fapiPublicGetExchangeInfo, public=True),
            self._requests.read(self._client.fapiPrivateGetLeverageBracket),
        )
        leverages = parse.max_leverages(brackets)
        wanted, found = frozenset(self._settings.symbols), {}
        for raw in info["symbols"]:
            if not parse.tradable(raw, self._settings.quote_asset):
                continue
            if wanted and raw.get("symbol") not in wanted:
                continue
            try:
                parsed = parse.symbol_filters(raw, leverages.get(str(raw.get("symbol")), 20))
            except ValueError as error:
                log.warning("symbol_left_out", symbol=raw.get("symbol"), error=str(error))
                continue
            found[parsed.symbol] = parsed
        for symbol in sorted(wanted - set(found)):
            log.warning("symbol_not_tradable", symbol=symbol)
        self._filters = found
        return dict(found)

    async def history(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """Read the last closed candles, oldest first, at most 999."""
        rows_wanted = min(limit + 1, CANDLE_PAGE)
        params: Params = {"symbol": symbol, "interval": timeframe, "limit": rows_wanted}
        rows = await self._requests.read(self._client.fapiPublicGetKlines, params, public=True)
        venue = self._settings.venue
        candles = [parse.candle(row, venue, symbol, timeframe) for row in rows]
        now = await self._market_now()
        return [c for c in candles if c.close_time <= now][-limit:]

    async def snapshot(self, since: int) -> ExchangeSnapshot:
        """Read account, positions, open orders, fills and funding of `since` and later."""
        now = await self._market_now()
        return await self._snapshots.read(since, now, self._settings.symbols)

    async def place(self, order: Order, *, signed_at: int) -> RequestOutcome:
        """Send an order once, signed with the wall time (ms) of the write that allowed it."""
        client = self._client
        call = (
            client.fapiPrivatePostAlgoOrder
            if is_conditional(order)
            else (client.fapiPrivatePostOrder)
        )
        answer = await self._requests.write(call, place_params(order), signed_at=signed_at)
        outcome = placed(order, answer)
        if isinstance(outcome, Accepted):
            self._snapshots.remember(outcome.report)
            self._streams.expect_echo(order.client_order_id)
        return outcome

    async def cancel(self, order: Order, *, signed_at: int | None = None) -> RequestOutcome:
        """Cancel an order by its client order id; a triggered one by its child, same id.

        Signed with `signed_at` as `place` is; with the time of now where it is not given.
        """
        client = self._client
        if is_conditional(order):
            params = cancel_params(order, conditional=True)
            call = client.fapiPrivateDeleteAlgoOrder
            answer = await self._requests.write(call, params, signed_at=signed_at)
            if getattr(answer, "code", "") not in UNKNOWN_ORDER_CODES:
                return placed(order, answer, canceled=True)
        params = cancel_params(order, conditional=False)
        call = client.fapiPrivateDeleteOrder
        answer = await self._requests.write(call, params, signed_at=signed_at)
        return placed(order, answer, canceled=True)

    async def find(self, order: Order) -> OrderReport | None:
        """Ask for an order by its client order id; None when the exchange does not know it."""
        client = self._client
        algo = None
        if is_conditional(order):
            algo = await self._ask(client.fapiPrivateGetAlgoOrder, find_params(order, True))
            if algo is not None and not parse.triggered(algo):
                return parse.algo_report(algo)
        plain = await self._ask(client.fapiPrivateGetOrder, find_params(order, False))
        report = reported(algo, plain)
        if report is not None:
            self._snapshots.remember(report)
        return report

    async def set_leverage(
        self, symbol: str, leverage: int, *, signed_at: int | None = None
    ) -> int:
        """Set a symbol's leverage and return what a read-back says (incident 33)."""
        params: Params = {"symbol": symbol, "leverage": leverage}
        call = self._client.fapiPrivatePostLeverage
        answer = await self._requests.write(call, params, signed_at=signed_at)
        if not isinstance(answer, dict):
            log.warning("leverage_not_set", symbol=symbol, outcome=repr(answer))
        rows = await self._requests.read(
            self._client.fapiPrivateGetSymbolConfig, {"symbol": symbol}
        )
        return int(next(row["leverage"] for row in rows if row["symbol"] == symbol))

    async def events(self) -> AsyncIterator[ExchangeEvent]:
        """Everything that the exchange tells, in order, without end."""
        while True:
            item = await self._streams.items.get()
            if isinstance(item, FundingSettled):
                for told in await self._recovery.funding(item):
                    yield told
            elif isinstance(item, Missing):
                for told in await self._recovery.step(item):
                    yield told
            elif isinstance(item, Listed):
                listed = await self._look_up(item)
                if listed.filters:
                    yield listed
            else:
                if isinstance(item, OrderReport):
                    self._snapshots.remember(item)
                yield item

    async def _look_up(self, listed: Listed) -> SymbolsListed:
        try:
            filters = await self.filters()
        except (ExchangeRefused, ExchangeUnavailable) as error:
            log.warning("listed_symbols_unread", symbols=sorted(listed.symbols), error=str(error))
            self._streams.look_again(listed.symbols)
            return SymbolsListed({})
        found = {s: f for s, f in filters.items() if s in listed.symbols}
        self._streams.join(found)
        log.info("symbols_listed", symbols=sorted(found))
        return SymbolsListed(found)

    async def idle(self, point: int) -> None:
        """Tell the paper venue that everything up to this point is handled."""
        await self._streams.idle(point)

    async def _ask(self, call: Any, params: dict[str, str]) -> Any | None:
        try:
            return await self._requests.read(call, params)
        except ExchangeRefused as error:
            if error.code in UNKNOWN_ORDER_CODES:
                return None
            raise

    async def _market_now(self) -> int:
        """Newest market time: Binance's clock, or what the paper venue's clock shows."""
        if not self._settings.paper:
            return self._requests.wall_ms() + self._requests.offset_ms
        if self._streams.market_time:
            return self._streams.market_time
        url = f"{self._settings.url.rstrip('/')}/paper/v1/clock"
        try:
            answer = await self._client.fetch(url)
        except ccxt.BaseError as error:
            raise ExchangeUnavailable(f"{url}: {error}") from error
        return int(answer["T"])

    async def _check_account(self) -> None:
        mode = await self._requests.read(self._client.fapiPrivateGetPositionSideDual)
        if mode["dualSidePosition"] is not False:
            raise ExchangeMisconfigured(
                "the account is in hedge mode; switch it to one-way mode (incident 32)"
            )
        if self._settings.paper:
            return
        burn = await self._requests.read(self._client.fapiPrivateGetFeeBurn)
        if burn.get("feeBurn") is True:
            raise ExchangeMisconfigured(
                f"fees are paid in BNB; switch that off, so that they are in"
                f" {self._settings.quote_asset}"
            )

    async def _renew_listen_key(self) -> bool:
        try:
            await self._requests.read(self._client.fapiPrivatePutListenKey)
        except (ExchangeRefused, ExchangeUnavailable) as error:
            log.warning("listen_key_not_renewed", error=str(error))
            return False
        return True

    async def _probe(self) -> None:
        while True:
            await self._clock.sleep(self._settings.probe_seconds)
            await self._requests.probe()
