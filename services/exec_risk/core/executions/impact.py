"""How far an order is expected to move the price."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.executions.volume_profile import VolumeProfile

_Y = Decimal(1)
"""The law's constant, of order 1."""


def expected(
    quantity: Decimal, profile: VolumeProfile | None, quoted_spread: Decimal = Decimal(0)
) -> Decimal | None:
    """Return the expected impact of a quantity taken at once, as a fraction of the price.

    Half the quoted spread plus the square-root law, Y sigma sqrt(Q / V), with volatility and
    volume over the same time (one candle; the ratio does not depend on which): Almgren, Thum,
    Hauptmann, Li, "Direct Estimation of Equity Market Impact", 2005; Toth et al., "Anomalous price
    impact and the critical nature of liquidity in financial markets", Phys. Rev. X 1, 021006.
    None when nothing is known of the symbol's volume.
    """
    if profile is None or profile.volume <= 0:
        return None
    moved = _Y * profile.volatility * (quantity / profile.volume).sqrt()
    return quoted_spread / 2 + moved
