"""The child that trains: heavy libraries are loaded there and nowhere else."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from services.kit.observe.logs import get_logger

log = get_logger(__name__)

MODULE = "services.lab.training.job"
_LINE = 1 << 20
_TAIL = 5


class ChildFailed(Exception):
    """The child ended without an artifact; the message is its last word."""


class TrainingChild:
    """One run of the training pipeline over a folder."""

    def __init__(self, folder: Path, *, nice: int, module: str = MODULE) -> None:
        self._folder = folder
        self._nice = nice
        self._module = module
        self._process: asyncio.subprocess.Process | None = None
        self._killed = False

    def kill(self) -> None:
        """End it at once; finished fits stay in the folder."""
        self._killed = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def run(self, heard: Callable[[str, float], Awaitable[None]]) -> dict[str, Any]:
        """Train; return what the child made. ChildFailed says why it made nothing."""
        if self._killed:
            raise ChildFailed("stopped before it began")
        with (self._folder / "errors.log").open("wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._module,
                str(self._folder),
                f"--nice={self._nice}",
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=_LINE,
            )
            try:
                said = await self._listen(self._process, heard)
                code = await self._process.wait()
            finally:
                self.kill()
                await self._process.wait()
        if code == 0 and "version" in said:
            return said
        raise ChildFailed(str(said.get("error") or self._last_words(code)))

    async def _listen(
        self, process: asyncio.subprocess.Process, heard: Callable[[str, float], Awaitable[None]]
    ) -> dict[str, Any]:
        last: dict[str, Any] = {}
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        async for line in process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                log.warning("child_said", line=line.decode(errors="replace")[:200])
                continue
            if "step" in said:
                await heard(str(said["step"]), float(said["progress"]))
            else:
                last = said
        return last

    def _last_words(self, code: int) -> str:
        text = (self._folder / "errors.log").read_text(encoding="utf-8", errors="replace")
        tail = " | ".join(text.strip().splitlines()[-_TAIL:])
        return f"the training ended with {code}: {tail}"
