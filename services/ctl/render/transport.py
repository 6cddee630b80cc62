"""Renders mutual TLS: who one is, and whom one accepts on the other side."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

PIECES = Path(__file__).resolve().parents[3] / "mesh" / "sidecar"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Folder with certificate, key and trusted CAs of one identity; Envoy follows its renames."""

    folder: Path

    def outbound(self, expected: str, sni: str) -> dict[str, Any]:
        """Return the transport socket of a cluster whose servers have exactly this SPIFFE id."""
        values = self._values([expected])
        made: dict[str, Any] = piece("tls-outbound", sni=json.dumps(sni), **values)
        return made

    def inbound(self, callers: Iterable[str]) -> dict[str, Any]:
        """Return the transport socket of a listener that takes these SPIFFE ids alone."""
        made: dict[str, Any] = piece("tls-inbound", **self._values(callers))
        return made

    def _values(self, peers: Iterable[str]) -> dict[str, str]:
        matchers = [{"san_type": "URI", "matcher": {"exact": peer}} for peer in peers]
        return {
            "identity_file": json.dumps(str(self.folder / "identity.json")),
            "trust_file": json.dumps(str(self.folder / "trust.json")),
            "certificates": json.dumps(str(self.folder)),
            "peers": json.dumps(matchers),
        }


def piece(name: str, /, **values: str) -> Any:
    """Return a piece of `mesh/sidecar` with `${...}` filled in; values are JSON or plain words."""
    return yaml.safe_load(Template((PIECES / f"{name}.yaml").read_text()).substitute(values))
