"""What the networks read: the window itself in units of its own noise, and how large that noise is.

Made inside the features graph, so that networks too are trained on exactly what serving computes.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.lab.training.graph import GraphWriter, Node

CHANNELS = ("open", "high", "drop", "close", "volume")
"""Rows of the series; `drop` is last close minus low, so that its maximum is the lowest low."""
CLOSE = CHANNELS.index("close")
LEVELS = 4
"""Numbers that say how wild the window is: three deviations and the ATR, as logarithms."""
_SCALE = 8.0
_LARGEST = 8.0
_LEAST = 1e-6


def network_series(
    g: GraphWriter, prices: Sequence[Node], last: Node, volume: Node, deviation: Node, bars: int
) -> Node:
    """Return the series [N, 5, bars] of open, high, low, close [N, bars] each.

    Prices are distances to the last close in units of `deviation` [N, 1], clipped; `volume` is
    the multiple of the window's mean.
    """
    unit = g.op.Mul(g.floor(deviation, _LEAST), g.scalar(_SCALE))
    opened, high, low, close = (
        g.op.Div(g.op.Div(g.op.Sub(price, last), last), unit) for price in prices
    )
    clipped = [
        g.op.Clip(price, g.scalar(-_LARGEST), g.scalar(_LARGEST))
        for price in (opened, high, g.op.Neg(low), close)
    ]
    traded = g.op.Sub(g.op.Log(g.op.Add(volume, g.scalar(1.0))), g.scalar(0.7))
    joined = g.op.Concat(*clipped, traded, axis=1)
    return g.op.Reshape(joined, g.ints(-1, len(CHANNELS), bars))


def network_level(g: GraphWriter, sizes: Sequence[Node]) -> Node:
    """Return how wild the window is [N, 4], near 0 for common markets."""
    joined = g.floor(g.op.Concat(*sizes, axis=1), _LEAST)
    return g.op.Add(g.op.Log(joined), g.scalar(7.0))
