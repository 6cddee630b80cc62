"""Real service processes for a benchmark."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

STOP_SECONDS = 10.0


@asynccontextmanager
async def service(
    module: str, environment: dict[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m module`, its output in a file, and stop it in order at the end."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            env=_environment(environment),
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def command(module: str, verb: str, environment: dict[str, str]) -> None:
    """Run `python -m module verb`; RuntimeError with its output when it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        verb,
        env=_environment(environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{module} {verb}: {output.decode()[-500:]}")


def _environment(own: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "LOG_LEVEL": "WARNING", "DRAIN_DELAY_SECONDS": "0", **own}
