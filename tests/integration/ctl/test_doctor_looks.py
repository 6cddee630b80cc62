"""`qt doctor` has every service read the settings, as it does at its start."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path


async def test_settings_that_a_service_refuses_and_those_that_nobody_reads(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("AI_BATCH_SIZE=many\nMAX_LEVERAG=3\nLOG_LEVEL=INFO\n")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.ctl", "doctor", f"--home={tmp_path / 'home'}", "--json",
        env={**os.environ, "QUANTUM_ENV_FILE": str(file)},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await child.communicate()
    assert child.returncode == 1
    told = [row["told"] for row in json.loads(out) if row["check"] == "settings"]
    assert any("ai: setting AI_BATCH_SIZE" in text for text in told)
    assert any("nobody reads MAX_LEVERAG" in text for text in told)
    assert len(told) == 2, told
