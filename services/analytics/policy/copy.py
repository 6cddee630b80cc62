"""Keeps the copy of the fund's policy in the key-value store as the rows in PostgreSQL are."""

from __future__ import annotations

import asyncio

from google.protobuf.message import DecodeError
from quantum.analytics.v1 import policy_pb2

from services.analytics.policy.facts import copy_of
from services.analytics.policy.store import PolicyStore
from services.catalog import subjects
from services.kit.bus.bus import Bus, BusRefused, BusUnavailable
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import TRANSIENT

log = get_logger(__name__)

_LOOK_SECONDS = 0.5
_AT_ONCE = 64
_AWAY: tuple[type[BaseException], ...] = (BusUnavailable, BusRefused, *TRANSIENT)


class PolicyCopy:
    """Writes what the store is behind with, in order; any replica may, the last key decides."""

    def __init__(self, store: PolicyStore, bus: Bus, changed: asyncio.Event) -> None:
        """`changed` is set when this process has made a version."""
        self._store = store
        self._bus = bus
        self._wake = changed

    async def run(self) -> None:
        """Write the first version where there is none, then repair after every change, for ever."""
        while True:
            try:
                await self._store.begin()
                await self.repair()
            except _AWAY as error:
                log.warning("policy_copy_waits", error=repr(error))
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue
            finally:
                self._wake.clear()

    async def repair(self) -> int:
        """Write the versions that the copy lacks; return how many.

        Each is written only after the one that was read, so an older never follows a newer.
        """
        end = await self._bus.last_sequence(subjects.POLICY.name)
        held, sequence = await self._held()
        lacking = await self._store.above(held, _AT_ONCE)
        for policy in lacking:
            copy = copy_of(policy, after=sequence, end=end)
            (sequence,) = await self._bus.publish_all([copy])
            log.info("policy_copied", version=policy.version, fund_mode=policy.fund_mode)
        return len(lacking)

    async def _held(self) -> tuple[int, int]:
        last = await self._bus.last(subjects.POLICY.name, subjects.FUND_POLICY)
        if last is None:
            return 0, 0
        try:
            return policy_pb2.FundPolicy.FromString(last.data).version, last.sequence
        except DecodeError:
            log.error("policy_copy_unreadable", at=last.sequence)
            return 0, last.sequence
