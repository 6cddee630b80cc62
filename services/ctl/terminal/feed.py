"""Follows trading through the gateway: what is new since the last look."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

import grpc
from quantum.ai.v1.signal_pb2 import Signal
from quantum.exec_risk.v1.trading_pb2 import Account, Order, Position

from services.ctl.gateway_client import GatewayClient, word
from services.ctl.supervisor.home import Home, Refused, read_json
from services.ctl.terminal import tables
from services.ctl.token_channel import token_channel

LOOK_SECONDS = 1.0
SHOWN = 8


@dataclass(slots=True)
class Feed:
    """The last signals, orders and positions, and the lines that tell of new ones."""

    signals: deque[Signal] = field(default_factory=lambda: deque(maxlen=SHOWN))
    orders: list[Order] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    account: Account | None = None
    trouble: str = ""
    """Why the last look failed; empty when it did not."""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=1_000))
    """Told, not yet printed."""
    _seen: dict[str, int] = field(default_factory=dict)

    async def follow(self, home: Home) -> None:
        """Look once a second until cancelled; a failed look is told and tried again."""
        port = read_json(home.endpoints_file)["ports"]["ingress"]
        async with token_channel(home, f"127.0.0.1:{port}") as channel:
            client = GatewayClient(channel)
            while True:
                try:
                    await self.look(client)
                    self.trouble = ""
                except (grpc.aio.AioRpcError, Refused) as error:
                    told = error.details() if isinstance(error, grpc.aio.AioRpcError) else error
                    self.trouble = str(told)
                await asyncio.sleep(LOOK_SECONDS)

    async def look(self, client: GatewayClient) -> None:
        """Ask for everything once."""
        for signal in reversed(await client.signals(SHOWN * 2)):
            self._signal(signal)
        self.orders = await client.orders(SHOWN * 4)
        for order in reversed(self.orders):
            self._order(order)
        self.positions = await client.positions(count=SHOWN * 2)
        for position in reversed(self.positions):
            self._position(position)
        self.account = await client.account()

    def _signal(self, signal: Signal) -> None:
        if self._new(signal.signal_id, 1):
            self.signals.appendleft(signal)
            self.lines.append(
                f"{tables.clock(signal.candle_close_time)} signal   {signal.symbol}"
                f" {word(signal, 'action')} confidence {signal.confidence:.3f}"
            )

    def _order(self, order: Order) -> None:
        if self._new(order.client_order_id, order.version):
            price = tables.short(order.average_price or order.trigger_price or order.price)
            reason = f" ({order.reason})" if order.reason else ""
            self.lines.append(
                f"{tables.clock(order.updated_time)} order    {order.symbol}"
                f" {word(order, 'side')} {order.quantity} {word(order, 'purpose')}"
                f" @ {price or 'market'} {word(order, 'state')}{reason}"
            )

    def _position(self, position: Position) -> None:
        if not self._new(position.position_id, position.version):
            return
        when = position.opened_time if position.status == "open" else position.closed_time
        text = f"{word(position, 'side')} {position.quantity} entry"
        text = f"{text} {tables.short(position.entry_price)}"
        if position.status == "closed":
            note = f" ({tables.IN_SAMPLE})" if position.in_sample else ""
            earned = tables.money(tables.net(position))
            text = f"closed by {word(position, 'exit_reason')}, net {earned}{note}"
        self.lines.append(f"{tables.clock(when)} position {position.symbol} {text}")

    def _new(self, key: str, version: int) -> bool:
        if self._seen.get(key, 0) >= version:
            return False
        self._seen[key] = version
        if len(self._seen) > 20_000:
            for old in list(self._seen)[:10_000]:
                del self._seen[old]
        return True
