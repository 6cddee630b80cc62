"""After a restore: nothing is entered before the exchange and the books agree."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping

from services.ctl.gateway_client import connected, word
from services.ctl.supervisor.home import Home, Refused

AGREE_SECONDS = 120.0
_PAUSE_SECONDS = 1.0
_HALTED = "HALTED"


async def resume(home: Home, states: Mapping[str, str]) -> dict[str, str]:
    """Reconcile until both sides agree, then set the state of before the backup.

    Refused leaves entries halted and says so. Return the state of each account.
    """
    await _agree(home)
    found = {}
    for account, state in states.items() or {"main": "ACTIVE"}.items():
        if state == _HALTED:
            found[account] = state
            continue
        async with connected(home) as client:
            reason = "restored, and compared with the exchange"
            told = await client.set_trading_state(state, reason, f"qt-{uuid.uuid4()}")
        found[account] = word(told, "state")
    return found


async def _agree(home: Home) -> None:
    deadline = time.monotonic() + AGREE_SECONDS
    why = ""
    while time.monotonic() < deadline:
        try:
            async with connected(home) as client:
                await client.reconcile(True, f"qt-{uuid.uuid4()}")
                left = await client.reconcile(False, f"qt-{uuid.uuid4()}")
            if not left.differences:
                return
            why = f"{len(left.differences)} differences are left"
        except Refused as refusal:  # the leader may still be reading the exchange
            why = str(refusal)
        await asyncio.sleep(_PAUSE_SECONDS)
    raise Refused(
        f"restored and running, but ENTRIES STAY HALTED: {why}."
        " `qt reconcile --apply`, then `qt state set ACTIVE`"
    )
