"""The folder of the services' own sockets, which only this user reaches."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from services.ctl.supervisor.home import Home, Refused

LONGEST = 107
"""Most bytes of a socket's path that the kernel takes."""
LONGEST_NAME = 40
PRIVATE = 0o700


def folder(home: Home) -> Path:
    """Return the folder: in the home, or a short one that is derived from it."""
    inside = home.run / "sockets"
    if len(os.fsencode(inside)) + LONGEST_NAME <= LONGEST:
        return inside
    mark = hashlib.sha256(os.fsencode(home.root)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"qt-{os.getuid()}-{mark}"


def create(place: Path) -> None:
    """Make the folder for this user alone; one that somebody else made there is refused."""
    place.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Refused(f"{place} belongs to somebody else: remove it, or choose another --home")
    place.chmod(PRIVATE)
