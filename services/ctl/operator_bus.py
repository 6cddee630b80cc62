"""The bus as the operator opens it: of a running home, or of a server elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.ctl.render.bus import OPERATOR
from services.ctl.supervisor.home import Home, Refused, read_json
from services.kit.bus.bus import Bus, BusRefused, BusUnavailable
from services.kit.bus.login import BadLogin, BusLogin

WAIT_SECONDS = 15.0


@asynccontextmanager
async def operator_bus(
    home: Home, url: str = "", nkey_file: Path | None = None, ca_file: Path | None = None
) -> AsyncIterator[Bus]:
    """Connect; Refused says in a line why not, or what the bus did not do.

    `nkey_file` and `ca_file` belong to `url`; a home has its own.
    """
    address = url or read_json(home.endpoints_file).get("nats", "")
    if not address:
        raise Refused(f"nothing runs in {home.root}: start it with `qt up`, or say --url")
    seed = nkey_file if url else home.identities().nkey_file(OPERATOR)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            bus = await Bus.connect(address, "qt", BusLogin(OPERATOR, seed, ca_file))
    except BadLogin as error:
        raise Refused(str(error)) from None
    except TimeoutError:
        raise Refused(f"{address} does not let us in or does not answer: `qt ps`") from None
    try:
        yield bus
    except (BusUnavailable, BusRefused) as error:
        raise Refused(f"the bus at {address} cannot be used: {error}") from error
    finally:
        await bus.close()
