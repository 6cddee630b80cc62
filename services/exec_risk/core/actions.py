"""What the core asks of the exchange: requests to carry out, as values."""

from __future__ import annotations

from dataclasses import dataclass

from services.trade.order import Order


@dataclass(frozen=True, slots=True)
class Place:
    """Send this order once; it is stored as SUBMITTED by the same handle()."""

    order: Order


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel this order."""

    order: Order


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ask for this order by its client order id until it is known what became of it."""

    order: Order


@dataclass(frozen=True, slots=True)
class SetLeverage:
    """Set a symbol's leverage and read it back."""

    symbol: str
    leverage: int


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Read the exchange whole and compare."""

    cause: str


Action = Place | Cancel | Resolve | SetLeverage | Reconcile
ACTIONS = (Place, Cancel, Resolve, SetLeverage, Reconcile)
WRITES = (Place, Cancel, SetLeverage)
"""Actions that change something on the exchange."""
