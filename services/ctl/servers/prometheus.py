"""Prometheus, where its binary is found: it is in no package registry of Python."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from services.ctl.render import scrape
from services.ctl.servers.command import Command, NotReady
from services.ctl.servers.free import LOOPBACK

HOW_TO_GET = (
    "for Prometheus, `apt-get install prometheus` or put the binary of"
    " https://prometheus.io/download on PATH"
)
RETENTION = "15d"
RETENTION_SIZE = "1GB"
_ANSWER_SECONDS = 2.0


def found() -> Path | None:
    """Return the binary; None when there is none."""
    path = shutil.which("prometheus")
    return Path(path) if path is not None else None


@dataclass(frozen=True, slots=True)
class PrometheusServer:
    """One Prometheus that scrapes what the target files name and evaluates the rules."""

    binary: Path
    directory: Path
    """Configuration, data and target files."""
    port: int
    log: Path
    name: str = "prometheus"

    @property
    def url(self) -> str:
        """Where people and tests ask."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def targets(self) -> Path:
        """Folder of the target files, which Prometheus watches."""
        return self.directory / "targets"

    def configuration(self) -> str:
        """Return what it is configured with."""
        return scrape.configuration(self.targets)

    def prepare(self) -> None:
        """Write the configuration."""
        self.targets.mkdir(parents=True, exist_ok=True)
        (self.directory / "prometheus.yml").write_text(self.configuration())

    def point_at(self, endpoints: Mapping[str, Any]) -> None:
        """Name what is to be scraped from now on: what `endpoints.json` says."""
        self.targets.mkdir(parents=True, exist_ok=True)
        for name, text in scrape.targets(endpoints).items():
            fresh = self.targets / f".{name}"
            fresh.write_text(text)
            fresh.replace(self.targets / name)

    def command(self) -> Command:
        """Return what starts it, on the loopback alone."""
        return Command(
            arguments=(
                str(self.binary),
                f"--config.file={self.directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.directory / 'data'}",
                f"--storage.tsdb.retention.time={RETENTION}",
                f"--storage.tsdb.retention.size={RETENTION_SIZE}",
                f"--web.listen-address={LOOPBACK}:{self.port}",
                "--enable-feature=exemplar-storage",
                "--log.level=warn",
            ),
            log=self.log,
            directory=self.log.parent,
        )

    async def probe(self) -> None:
        """Ask whether it is ready."""
        limit = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        url = f"{self.url}/-/ready"
        try:
            async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as told:
                if not told.ok:
                    raise NotReady(f"{url} says {told.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotReady(f"{self.url} does not answer: {error!r}") from error
