"""The certificate that a server shows."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

NAME = "localhost"
"""What a server of this machine is called in its certificate."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM: the chain, its key, and the authority that clients trust."""

    chain: Path
    key: Path
    authority: Path

    def trust(self) -> ssl.SSLContext:
        """Return what a client verifies the server with."""
        return ssl.create_default_context(cafile=self.authority)
