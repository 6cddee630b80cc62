"""A tiny gRPC service behind a sidecar: answers every method with its own name.

Run as `python echo_service.py ADDRESS NAME JOURNAL`. A request is text, `ID SECONDS`: the id goes
into the journal when the call begins, the answer comes after so many seconds.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import grpc

ADDRESS, NAME = sys.argv[1:3]
JOURNAL = Path(sys.argv[3]).open("a", buffering=1)  # noqa: SIM115 - for the process's whole life
SERVING = b"\x08\x01"


class Everything(grpc.GenericRpcHandler):
    """Handles whatever is called."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = health if details.method.startswith("/grpc.health.") else echo
        return grpc.unary_unary_rpc_method_handler(method)


async def health(request: bytes, context: Any) -> bytes:
    return SERVING


async def echo(request: bytes, context: Any) -> bytes:
    identity, _, seconds = request.decode().partition(" ")
    JOURNAL.write(f"{identity}\n")
    await asyncio.sleep(float(seconds or 0))
    told = dict(context.invocation_metadata() or ())
    caller = str(told.get("x-forwarded-client-cert", ""))
    return f"{NAME} {context.time_remaining() or 0:.3f} {caller}".encode()


async def serve() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Everything(),))
    server.add_insecure_port(ADDRESS)
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(5)


if __name__ == "__main__":
    asyncio.run(serve())
