"""Shows a proxy's counters to Prometheus; the rest of its admin interface stays on the loopback."""

from __future__ import annotations

import json
from typing import Any

from services.ctl.render.address import listen
from services.ctl.render.transport import piece

PATH = "/stats/prometheus"


def expose(bootstrap: dict[str, Any], address: str) -> None:
    """Add a listener at host:port that answers that path alone; an empty address adds none."""
    if not address:
        return
    admin = bootstrap["admin"]["address"]
    made = piece("stats", address=json.dumps(listen(address)), admin=json.dumps(admin))
    bootstrap["static_resources"]["listeners"].append(made["listener"])
    bootstrap["static_resources"]["clusters"].append(made["cluster"])
