"""Which market a home belongs to: one market, one account, one set of books."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from services.ctl.supervisor.home import Home, Refused

GENERATED = "generated"
LIVE = "live"
DEFAULT_SEED = 7


@dataclass(frozen=True, slots=True)
class Market:
    """What feeds the paper venue."""

    source: str
    """`generated`, `live` or the absolute path of a folder of recorded candles."""
    seed: int = DEFAULT_SEED
    """Of the generated market and of slippage."""

    def describe(self) -> str:
        """Name it as `qt up` takes it."""
        return f"{self.source} (seed {self.seed})" if self.source == GENERATED else self.source


def claim(home: Home, source: str | None, seed: int | None) -> Market:
    """Return the market of the home; the first start decides it, another one is refused."""
    kept = home.remembered()
    wanted = _absolute(source) if source else str(kept.get("market", GENERATED))
    held_seed = int(kept.get("seed", DEFAULT_SEED))
    market = Market(wanted, seed if seed is not None else held_seed)
    if "market" in kept:
        held = Market(str(kept["market"]), held_seed)
        if held != market:
            raise Refused(
                f"{home.root} belongs to the market {held.describe()}: `qt down --wipe --home"
                f" {shlex.quote(str(home.root))}` removes it, another --home leaves it alone"
            )
    home.remember({"market": market.source, "seed": market.seed})
    return market


def _absolute(source: str) -> str:
    if source in (GENERATED, LIVE):
        return source
    folder = Path(source).expanduser().resolve()
    if not folder.is_dir():
        raise Refused(f"--market {source}: no such folder; say generated, live or a folder")
    if not any(folder.glob("*.csv*")):
        raise Refused(f"--market {source}: the folder holds no *.csv or *.csv.gz candles")
    return str(folder)
