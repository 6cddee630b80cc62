"""The features, authored once: a graph from windows [N, T, 5] to features [N, F].

Columns of a window: open, high, low, close, volume, float32, oldest bar first. The same graph
makes the training data and sits inside the shipped artifact, so the two cannot differ. Rules of
float32 that are kept here: subtract prices before dividing them, never E[x^2] - E[x]^2, guard
each denominator, and give comparisons of derived values a dead band.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from services.lab.training import kernels
from services.lab.training.graph import GraphWriter, Node, type_bool
from services.lab.training.series import CHANNELS, LEVELS, network_level, network_series
from services.lab.training.validity import valid_windows

WINDOW = 128
"""Bars in a window."""
COLUMNS = 5
RETURN_LAGS = (1, 2, 5, 10, 20, 40, 80)
EMA_PERIODS = (9, 21, 50)
RSI_PERIODS = (7, 14)
EFFICIENCY_BARS = (10, 30, 120)
DEVIATION_BARS = (10, 30, 120)
POSITION_BARS = (20, 60, 128)
DEAD_BAND = 3e-7
"""Share of the last close: above float32 noise of a difference, below every exchange's tick."""
TINY = 1e-12
"""Guard of denominators that are shares of price."""

FEATURES = (
    *(f"return_{n}" for n in RETURN_LAGS),
    *(f"ema_distance_{n}" for n in EMA_PERIODS),
    "macd_histogram",
    *(f"rsi_{n}" for n in RSI_PERIODS),
    *(f"efficiency_{n}" for n in EFFICIENCY_BARS),
    "up_share_20",
    *(f"deviation_{n}" for n in DEVIATION_BARS),
    "deviation_ratio",
    "skew_60",
    "autocorrelation_60",
    "atr_14",
    "bar_range",
    "bar_body",
    "bar_upper_wick",
    "bar_lower_wick",
    "di_difference_14",
    "adx_14",
    "bollinger_20",
    *(f"position_{n}" for n in POSITION_BARS),
    "aroon_25",
    "volume_last",
    "volume_ratio_5_60",
    "volume_signed_20",
    "volume_flow_20",
    "vwap_distance_60",
)
"""Names of the features, in the order of the output."""


@dataclass(frozen=True, slots=True)
class _Bars:
    """Columns of the window, [N, T] each, and what many features need."""

    open: Node
    high: Node
    low: Node
    close: Node
    volume: Node
    last: Node
    """Last close [N, 1]."""
    changes: Node
    """Close minus the close before, divided by the last close [N, T - 1]."""
    true_range: Node
    """True range divided by the last close [N, T - 1]."""
    atr: Node
    """Wilder's mean of the true range over 14 bars [N, 1]."""


def build_features() -> onnx.ModelProto:
    """Return the graph: window -> valid [N], features [N, F], atr_fraction [N], and for networks

    series [N, 5, T] and level [N, 4].
    """
    g = GraphWriter("features")
    window = g.input("window", ["N", WINDOW, COLUMNS])
    valid = valid_windows(g, window, WINDOW)
    g.output(valid, "valid", ["N"], type_bool)
    shaped = g.op.Reshape(valid, g.ints(-1, 1, 1))
    bars = _bars(g, g.op.Where(shaped, window, g.scalar(1.0)))
    found: dict[str, Node] = {}
    for group in (_trend, _movement, _dispersion, _last_bar, _direction, _place, _volume):
        found.update(group(g, bars))
    joined = g.op.Concat(*(found[name] for name in FEATURES), axis=1)
    rows = g.op.Reshape(valid, g.ints(-1, 1))
    g.output(g.op.Where(rows, joined, g.scalar(0.0)), "features", ["N", len(FEATURES)])
    atr = g.op.Where(rows, bars.atr, g.scalar(0.0))
    g.output(g.op.Reshape(atr, g.ints(-1)), "atr_fraction", ["N"])
    deviations = [_deviation(g, bars.changes, n) for n in DEVIATION_BARS]
    series = network_series(
        g,
        [bars.open, bars.high, bars.low, bars.close],
        bars.last,
        bars.volume,
        deviations[-1],
        WINDOW,
    )
    g.output(series, "series", ["N", len(CHANNELS), WINDOW])
    g.output(network_level(g, [*deviations, bars.atr]), "level", ["N", LEVELS])
    return g.model()


def _bars(g: GraphWriter, window: Node) -> _Bars:
    opened, high, low, close, volume = (g.column(window, i) for i in range(COLUMNS))
    last = g.columns(close, WINDOW - 1, WINDOW)
    previous = g.columns(close, 0, WINDOW - 1)
    later_high, later_low = g.columns(high, 1, WINDOW), g.columns(low, 1, WINDOW)
    ranges = g.op.Max(
        g.op.Sub(later_high, later_low),
        g.op.Abs(g.op.Sub(later_high, previous)),
        g.op.Abs(g.op.Sub(later_low, previous)),
    )
    true_range = g.op.Div(ranges, last)
    changes = g.op.Div(g.op.Sub(g.columns(close, 1, WINDOW), previous), last)
    # A huge first price must not overflow the mean: volumes are scaled by their largest first.
    largest = g.floor(g.op.ReduceMax(volume, g.ints(1), keepdims=1), 1e-30)
    scaled = g.op.Div(volume, largest)
    share = g.op.Div(scaled, g.floor(g.mean(scaled, WINDOW), 1e-6))
    (atr,) = g.weigh(true_range, [kernels.wilder(WINDOW - 1, 14)])
    return _Bars(opened, high, low, close, share, last, changes, true_range, atr)


def _trend(g: GraphWriter, bars: _Bars) -> dict[str, Node]:
    """Returns in units of their deviation, distances to means in units of ATR."""
    relative = g.op.Div(g.op.Sub(bars.close, bars.last), bars.last)
    weights = [
        *(-kernels.lag(WINDOW, n) for n in RETURN_LAGS),
        *(-kernels.ema(WINDOW, n) for n in EMA_PERIODS),
        kernels.macd_histogram(WINDOW),
    ]
    values = g.weigh(relative, weights)
    deviation = g.floor(_deviation(g, bars.changes, 120), TINY)
    atr = g.floor(bars.atr, TINY)
    found: dict[str, Node] = {}
    for n, value in zip(RETURN_LAGS, values, strict=False):
        found[f"return_{n}"] = g.op.Div(value, g.op.Mul(deviation, g.scalar(n**0.5)))
    for n, value in zip(EMA_PERIODS, values[len(RETURN_LAGS) :], strict=False):
        found[f"ema_distance_{n}"] = g.op.Div(value, atr)
    found["macd_histogram"] = g.op.Div(values[-1], atr)
    return found


def _movement(g: GraphWriter, bars: _Bars) -> dict[str, Node]:
    """RSI as (up - down) / (up + down), efficiency of movement, share of rising bars."""
    size = WINDOW - 1
    up = g.op.Max(bars.changes, g.scalar(0.0))
    down = g.op.Max(g.op.Neg(bars.changes), g.scalar(0.0))
    smooth = [kernels.wilder(size, n) for n in RSI_PERIODS]
    found: dict[str, Node] = {}
    for n, rise, fall in zip(RSI_PERIODS, g.weigh(up, smooth), g.weigh(down, smooth), strict=True):
        both = g.floor(g.op.Add(rise, fall), TINY)
        found[f"rsi_{n}"] = g.op.Div(g.op.Sub(rise, fall), both)
    sums = [kernels.mean(size, n) for n in EFFICIENCY_BARS]
    net = g.weigh(bars.changes, sums)
    path = g.weigh(g.op.Abs(bars.changes), sums)
    for n, moved, walked in zip(EFFICIENCY_BARS, net, path, strict=True):
        found[f"efficiency_{n}"] = g.op.Div(moved, g.floor(walked, TINY))
    signs = g.op.Sign(bars.changes)
    (found["up_share_20"],) = g.weigh(signs, [kernels.mean(size, 20)])
    return found


def _centred(g: GraphWriter, values: Node, bars: int) -> Node:
    tail = g.columns(values, WINDOW - 1 - bars, WINDOW - 1)
    return g.op.Sub(tail, g.mean(tail, bars))


def _deviation(g: GraphWriter, values: Node, bars: int) -> Node:
    centred = _centred(g, values, bars)
    return g.op.Sqrt(g.mean(g.op.Mul(centred, centred), bars))


def _dispersion(g: GraphWriter, bars: _Bars) -> dict[str, Node]:
    """How widely and how regularly the changes spread."""
    deviations = {n: _deviation(g, bars.changes, n) for n in DEVIATION_BARS}
    found = {f"deviation_{n}": value for n, value in deviations.items()}
    found["deviation_ratio"] = g.op.Div(deviations[10], g.floor(deviations[120], TINY))
    centred = _centred(g, bars.changes, 60)
    unit = g.op.Div(centred, g.floor(_deviation(g, bars.changes, 60), TINY))
    found["skew_60"] = g.mean(g.op.Mul(g.op.Mul(unit, unit), unit), 60)
    products = g.op.Mul(g.columns(unit, 1, 60), g.columns(unit, 0, 59))
    found["autocorrelation_60"] = g.mean(products, 59)
    found["atr_14"] = bars.atr
    return found


def _last_bar(g: GraphWriter, bars: _Bars) -> dict[str, Node]:
    """Shape of the last bar in units of ATR."""
    opened, high, low = (
        g.columns(values, WINDOW - 1, WINDOW) for values in (bars.open, bars.high, bars.low)
    )
    atr = g.floor(bars.atr, TINY)
    parts = {
        "bar_range": g.op.Sub(high, low),
        "bar_body": g.op.Sub(bars.last, opened),
        "bar_upper_wick": g.op.Sub(high, g.op.Max(opened, bars.last)),
        "bar_lower_wick": g.op.Sub(g.op.Min(opened, bars.last), low),
    }
    return {name: g.op.Div(g.op.Div(part, bars.last), atr) for name, part in parts.items()}


def _direction(g: GraphWriter, bars: _Bars) -> dict[str, Node]:
    """Wilder's directional movement over 14 bars."""
    size = WINDOW - 1
    up = _step(g, bars.high, bars.last, falling=False)
    down = _step(g, bars.low, bars.last, falling=True)
    band, zero = g.scalar(DEAD_BAND), g.scalar(0.0)
    rises = g.op.And(g.op.Greater(g.op.Sub(up, down), band), g.op.Greater(up, band))
    falls = g.op.And(g.op.Greater(g.op.Sub(down, up), band), g.op.Greater(down, band))
    path = g.constant(kernels.wilder_path(size, 14).T.astype(np.float32))
    plus = g.op.MatMul(g.op.Where(rises, up, zero), path)
    minus = g.op.MatMul(g.op.Where(falls, down, zero), path)
    index = g.op.Div(g.op.Sub(plus, minus), g.floor(g.op.Add(plus, minus), TINY))
    steps = size - 14 + 1
    (adx,) = g.weigh(g.op.Abs(index), [kernels.wilder(steps, 14)])
    return {"di_difference_14": g.columns(index, steps - 1, steps), "adx_14": adx}


def _step(g: GraphWriter, values: Node, last: Node, *, falling: bool) -> Node:
    later, earlier = g.columns(values, 1, WINDOW), g.columns(values, 0, WINDOW - 1)
    change = g.op.Sub(earlier, later) if falling else g.op.Sub(later, earlier)
    return g.op.Div(change, last)


def _place(g: GraphWriter, bars: _Bars) -> dict[str, Node]:
    """Where the last close stands among the bars before it."""
    tail = g.columns(bars.close, WINDOW - 20, WINDOW)
    away = g.op.Div(g.op.Sub(tail, bars.last), bars.last)
    middle = g.mean(away, 20)
    spread = g.op.Sub(away, middle)
    deviation = g.op.Sqrt(g.mean(g.op.Mul(spread, spread), 20))
    found = {"bollinger_20": g.op.Div(g.op.Neg(middle), g.floor(deviation, TINY))}
    for n in POSITION_BARS:
        top = g.op.ReduceMax(g.columns(bars.high, WINDOW - n, WINDOW), g.ints(1), keepdims=1)
        bottom = g.op.ReduceMin(g.columns(bars.low, WINDOW - n, WINDOW), g.ints(1), keepdims=1)
        height = g.floor(g.op.Div(g.op.Sub(top, bottom), bars.last), TINY)
        found[f"position_{n}"] = g.op.Div(g.op.Div(g.op.Sub(bars.last, bottom), bars.last), height)
    found["aroon_25"] = _aroon(g, bars)
    return found


def _aroon(g: GraphWriter, bars: _Bars) -> Node:
    highs = g.columns(bars.high, WINDOW - 26, WINDOW)
    lows = g.columns(bars.low, WINDOW - 26, WINDOW)
    top = g.op.ArgMax(highs, axis=1, keepdims=1, select_last_index=1)
    bottom = g.op.ArgMin(lows, axis=1, keepdims=1, select_last_index=1)
    between = g.op.Cast(g.op.Sub(top, bottom), to=onnx.TensorProto.FLOAT)
    return g.op.Div(between, g.scalar(25.0))


def _volume(g: GraphWriter, bars: _Bars) -> dict[str, Node]:
    """Volume as a multiple of the window's mean, and on which side it fell."""
    last, short, longer = g.weigh(
        bars.volume,
        [kernels.lag(WINDOW, 0), kernels.mean(WINDOW, 5), kernels.mean(WINDOW, 60)],
    )
    recent = g.columns(bars.volume, WINDOW - 20, WINDOW)
    traded = g.floor(g.total(recent, 20), 1e-6)
    signs = g.op.Sign(g.columns(bars.changes, WINDOW - 21, WINDOW - 1))
    high, low, close = (
        g.columns(values, WINDOW - 20, WINDOW) for values in (bars.high, bars.low, bars.close)
    )
    height = g.floor(g.op.Div(g.op.Sub(high, low), bars.last), TINY)
    inside = g.op.Sub(g.op.Sub(close, low), g.op.Sub(high, close))
    pressure = g.op.Div(g.op.Div(inside, bars.last), height)
    hour = g.columns(bars.volume, WINDOW - 60, WINDOW)
    closes = g.columns(bars.close, WINDOW - 60, WINDOW)
    away = g.op.Div(g.op.Sub(bars.last, closes), bars.last)
    vwap = g.op.Div(g.total(g.op.Mul(away, hour), 60), g.floor(g.total(hour, 60), 1e-6))
    return {
        "volume_last": g.op.Log(g.op.Add(last, g.scalar(1.0))),
        "volume_ratio_5_60": g.op.Div(short, g.floor(longer, 1e-6)),
        "volume_signed_20": g.op.Div(g.total(g.op.Mul(signs, recent), 20), traded),
        "volume_flow_20": g.op.Div(g.total(g.op.Mul(pressure, recent), 20), traded),
        "vwap_distance_60": g.op.Div(vwap, g.floor(bars.atr, TINY)),
    }
