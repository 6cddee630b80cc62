"""Free ports of the loopback."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"
FIRST = 20_000
LAST = 32_000
"""Below the range that the kernel takes for outgoing connections, so that none steals a port."""


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(avoid: frozenset[int] = frozenset()) -> int:
    """Return a port on which nothing listens and that is not in `avoid`."""
    chooser = random.SystemRandom()
    for _ in range(200):
        port = chooser.randrange(FIRST, LAST)
        if port not in avoid and is_free(port):
            return port
    raise OSError(f"no free port between {FIRST} and {LAST} on {LOOPBACK}")
