"""Runs the embedded trace store; `qt up` starts it."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from services.ctl.traces.receiver import Receiver
from services.ctl.traces.store import SpanStore
from services.kit.observe import logs

log = logs.get_logger(__name__)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="OTLP trace store")
    parser.add_argument("--listen", default="127.0.0.1:4317", help="host:port of OTLP/gRPC")
    parser.add_argument("--file", type=Path, required=True, help="SQLite file")
    parser.add_argument("--forward", default="", help="another OTLP/gRPC collector")
    given = parser.parse_args()
    logs.configure("traces", "traces", "INFO", "json")
    asyncio.run(_serve(given.listen, given.file, given.forward))


async def _serve(listen: str, file: Path, forward: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    store = SpanStore.open(file)
    try:
        async with Receiver(store, forward=forward).serve(listen) as receiver:
            log.info("traces_serving", port=receiver.port, file=str(file), forward=forward)
            await stop.wait()
    finally:
        store.close()


if __name__ == "__main__":
    main()
