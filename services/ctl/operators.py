"""Who operates: the account on this machine, and the one it was reached through."""

from __future__ import annotations

import getpass
import os
import socket


def who() -> str:
    """Return `account@machine`, with the account behind sudo where there is one."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        account = str(os.getuid())
    behind = os.environ.get("SUDO_USER", "")
    through = f" ({behind})" if behind and behind != account else ""
    return f"{account}@{socket.gethostname()}{through}"[:100]
