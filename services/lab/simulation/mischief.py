"""What goes wrong from point to point: crashes, freezes, outages, people."""

from __future__ import annotations

from functools import partial
from math import exp, log

from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core.inputs import Command
from services.exec_risk.core.policy import Gates
from services.lab.simulation.faults import Fault
from services.lab.simulation.replica import Replica
from services.lab.simulation.world import World
from services.trade.order import Side

_MOST_CALLBACKS = 400


class Mischief:
    """Draws at every point of the market what happens next."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._faults = world.faults
        self._hands = 0

    def at_point(self, *, closing: bool) -> None:
        """Let things happen; a closing candle brings decisions, so more happens there."""
        times = 3.0 if closing else 1.0
        self._crash(times)
        self._freeze(times)
        self._streams()
        self._clocks()
        self._outages()
        self._people(times)

    async def end(self) -> None:
        """Stop all faults and make everything work again."""
        world = self._world
        world.faults.quiet = True
        world.rows.away_until = world.bus.away_until = 0.0
        world.processes.venue_away_until[0] = 0.0
        for replica in world.replicas:
            world.loop.disarm(replica.owner)
            replica.clock.skew = 0.0
            self._gate(replica, Gates())
            if not replica.exchange.up:
                self._stream_up(replica)
        await world.loop.pause(15.0)
        for command in world.ground.script.resume():
            await world.loop.pause(1.0)
            world.ask(command)
            world.asked[command.request_id] = world.loop.time()

    def _victim(self, kind: Fault) -> Replica | None:
        """Return the leader, mostly; sometimes the standby."""
        world = self._world
        alive = [r for r in world.replicas if r.alive and not r.frozen]
        leader = world.replicas.leader()
        if leader is not None and self._faults.stream(kind).random() < 0.85:
            return leader
        return self._faults.stream(kind).choice(alive) if alive else None

    def _crash(self, times: float) -> None:
        if not self._faults.strikes(Fault.CRASH, 0.015 * times):
            return
        dice, victim = self._faults.stream(Fault.CRASH), self._victim(Fault.CRASH)
        count, restart = _callbacks(dice.random()), dice.uniform(0.3, 3.5)
        if victim is not None:
            name, world = victim.name, self._world
            world.loop.arm(victim.owner, count, lambda: world.processes.kill(name, restart))

    def _freeze(self, times: float) -> None:
        if not self._faults.strikes(Fault.FREEZE, 0.008 * times):
            return
        dice, victim = self._faults.stream(Fault.FREEZE), self._victim(Fault.FREEZE)
        count, seconds = _callbacks(dice.random()), dice.uniform(0.3, 8.0)
        if victim is not None:
            name, world = victim.name, self._world
            world.loop.arm(victim.owner, count, lambda: world.processes.freeze(name, seconds))

    def _streams(self) -> None:
        for replica in list(self._world.replicas):
            if not replica.alive or not replica.exchange.up:
                continue
            if self._faults.strikes(Fault.STREAM_CLOSED, 0.02):
                self._close_stream(replica)

    def _close_stream(self, replica: Replica) -> None:
        world, exchange = self._world, replica.exchange
        exchange.up = False
        exchange.hand(ex.StreamStateChanged("user", False, "closed"))
        world.ground.tell(replica.name, "user stream closes")
        seconds = self._faults.stream(Fault.STREAM_CLOSED).uniform(0.1, 6.0)
        world.ground.network.later(seconds, lambda: self._stream_up(replica))

    def _stream_up(self, replica: Replica) -> None:
        if not replica.exchange.up:
            replica.exchange.up = True
            self._world.troubles.note(2.0)
            replica.exchange.hand(ex.StreamStateChanged("user", True, "opened again"))

    def _clocks(self) -> None:
        if self._faults.strikes(Fault.CLOCK_SKEW, 0.01):
            victim = self._victim(Fault.CLOCK_SKEW)
            if victim is not None:
                victim.clock.skew = self._faults.stream(Fault.CLOCK_SKEW).uniform(-3.0, 3.0)
                self._world.troubles.note(1.0)
                self._world.ground.tell(victim.name, f"clock is {victim.clock.skew:+.1f} s off")

    def _outages(self) -> None:
        world, now = self._world, self._world.loop.time()
        for kind, chance in ((Fault.MAINTENANCE, 0.004), (Fault.STORE_GONE, 0.004)):
            if self._faults.strikes(kind, chance):
                seconds = self._faults.stream(kind).choice((0.5, 3.0, 15.0, 60.0))
                if kind is Fault.MAINTENANCE:
                    world.processes.venue_away_until[0] = now + seconds
                else:
                    world.rows.go_away(now, seconds)
                # what hung meanwhile ends by its own time-outs
                world.troubles.note(seconds + 9.0)
                world.ground.tell("world", f"{kind} for {seconds} s")
        if self._faults.strikes(Fault.BUS_GONE, 0.006):
            seconds = self._faults.stream(Fault.BUS_GONE).choice((1.0, 5.0, 60.0))
            world.bus.away_until = now + seconds
            world.ground.tell("world", f"bus gone for {seconds} s")

    def _people(self, times: float) -> None:
        world = self._world
        # what a first reading finds has no fills here: a drill of its own, test_drills.py
        read = world.rows.account is not None
        if self._faults.strikes(Fault.MANUAL_TRADE, 0.008) and read:
            self._trade_by_hand()
        if self._faults.strikes(Fault.OPERATOR, 0.03 * times):
            dice = self._faults.stream(Fault.OPERATOR)
            command = world.ground.script.command(dice)
            world.ask(command)
            world.ground.tell("operator", repr(command))
            later = dice.uniform(5.0, 60.0)
            for again in world.ground.script.resume():
                later += 2.0
                world.ground.network.later(later, partial(self._ask, again))
        if self._faults.strikes(Fault.DRAIN, 0.004):
            seconds = self._faults.stream(Fault.DRAIN).uniform(1.0, 30.0)
            for replica in world.replicas:
                self._gate(replica, Gates(draining=True))
                world.ground.network.later(seconds, partial(self._gate, replica, Gates()))

    def _ask(self, command: Command) -> None:
        if not self._faults.quiet:
            self._world.ask(command)

    def _gate(self, replica: Replica, gates: Gates) -> None:
        replica.gates, replica.gates_since = gates, self._world.loop.time()

    def _trade_by_hand(self) -> None:
        """A person closes, reduces or opens a position at the exchange."""
        world, dice = self._world, self._faults.stream(Fault.MANUAL_TRADE)
        symbol = dice.choice(world.market.symbols)
        held, filters = world.venue.held(symbol), world.market.rules[symbol].filters
        self._hands += 1
        name = f"web_{self._hands}"
        if held:
            share = dice.choice((1, 1, 2))
            quantity = max(filters.floor_quantity(abs(held) / share), filters.min_quantity)
            side = Side.SELL if held > 0 else Side.BUY
        else:
            quantity = filters.ceil_quantity(dice.choice((200, 1500)) / world.venue.mark(symbol))
            side = dice.choice((Side.BUY, Side.SELL))
        if world.venue.trade_by_hand(symbol, side, quantity, name):
            world.ground.tell("person", f"{side} {quantity} {symbol} as {name}")
            world.streams.acted(5)


def _callbacks(share: float) -> int:
    """Return how many more callbacks: few are as likely as many."""
    return max(1, int(exp(share * log(_MOST_CALLBACKS))))
