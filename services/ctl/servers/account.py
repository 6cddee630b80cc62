"""Under which account PostgreSQL runs: it refuses root, so root hands over to `nobody`."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from pathlib import Path

from services.ctl.servers.command import ServerFailed

ACCOUNT = "nobody"


def needed() -> bool:
    """True when this process is root."""
    return os.geteuid() == 0


def prefix(*paths: Path) -> tuple[str, ...]:
    """Return what runs a command as `nobody` when we are root, nothing otherwise.

    Where a folder above one of the paths is closed to others (a clone under /root), the command
    keeps the one capability that passes it; opening the folder to everyone would be worse.
    """
    if not needed():
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ServerFailed("PostgreSQL refuses to run as root: install util-linux (setpriv)")
    user = pwd.getpwnam(ACCOUNT)
    command = [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    if not all(_reachable(path.resolve()) for path in paths):
        command += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return tuple(command)


def hand_over(owned: Path | int) -> None:
    """Give a directory or an open file to `nobody` when we are root."""
    if needed():
        user = pwd.getpwnam(ACCOUNT)
        os.chown(owned, user.pw_uid, user.pw_gid)


def _reachable(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents if folder.exists())
