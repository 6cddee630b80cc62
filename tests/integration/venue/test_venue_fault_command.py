"""`qt venue fault` on a running venue."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from services.ctl.supervisor.home import Home, write_json
from services.venue.app import start_venue
from services.venue.settings import VenueSettings


async def qt(home: Path, *arguments: str) -> tuple[int, str]:
    """Run a command as an operator does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "services.ctl", "venue", "fault", *arguments, f"--home={home}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, told.decode().strip()


async def test_faults_are_added_listed_and_ended(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    settings = VenueSettings(venue_speed=0, venue_api_key=home.secrets()["api_key"])
    async with start_venue(settings) as venue:
        write_json(home.endpoints_file, {"venue": venue.url})
        code, told = await qt(
            tmp_path, "add", "reply_drop", "--path=order", "--client-id=qte", "--times=2", "--json"
        )
        made = json.loads(told)
        assert (code, made["kind"], made["times"], made["client_id"]) == (0, "reply_drop", 2, "qte")
        code, told = await qt(tmp_path, "list")
        assert code == 0
        assert all(word in told for word in (made["id"], "reply_drop", "path=order", "2 times"))
        code, told = await qt(tmp_path, "clear")
        assert (code, told) == (0, f"ended: {made['id']}")
        code, told = await qt(tmp_path, "clear")
        assert (code, told) == (0, "ended: none was in force")
        code, told = await qt(tmp_path, "add", "flood")
        assert code == 2 and told.startswith("qt: kind is one of: ban, close_sockets")
    code, told = await qt(tmp_path, "list")
    assert code == 2 and "does not answer" in told


async def test_without_a_running_system_it_says_so(tmp_path: Path) -> None:
    code, told = await qt(tmp_path, "list")
    assert (code, told) == (2, f"qt: nothing runs in {tmp_path}: start it with `qt up`")
