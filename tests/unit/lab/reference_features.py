"""The features in plain float64 NumPy, with recursions bar by bar instead of kernels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float64]


def recursive_mean(values: Row, period: int, alpha: float) -> list[float]:
    mean = float(np.mean(values[:period]))
    path = [mean]
    for value in values[period:]:
        mean += alpha * (float(value) - mean)
        path.append(mean)
    return path


def wilder(values: Row, period: int) -> list[float]:
    return recursive_mean(values, period, 1.0 / period)


def ema(values: Row, period: int) -> list[float]:
    return recursive_mean(values, period, 2.0 / (period + 1))


def ratio(above: float, below: float) -> float:
    return above / max(below, 1e-12)


def reference(window: npt.NDArray[np.float32]) -> tuple[dict[str, float], float]:
    """Return (features by name, ATR as a fraction of the last close)."""
    opened, high, low, close = (window[:, i].astype(np.float64) for i in range(4))
    last = close[-1]
    changes = np.diff(close) / last
    ranges = np.maximum(
        high[1:] - low[1:], np.maximum(abs(high[1:] - close[:-1]), abs(low[1:] - close[:-1]))
    )
    atr = wilder(ranges / last, 14)[-1]
    found: dict[str, float] = {"atr_14": atr}
    for n in (10, 30, 120):
        found[f"deviation_{n}"] = float(np.std(changes[-n:]))
        found[f"efficiency_{n}"] = ratio(float(changes[-n:].sum()), float(abs(changes[-n:]).sum()))
    for n in (1, 2, 5, 10, 20, 40, 80):
        move = (last - close[-1 - n]) / last
        found[f"return_{n}"] = ratio(move, found["deviation_120"] * n**0.5)
    for n in (9, 21, 50):
        found[f"ema_distance_{n}"] = ratio((last - ema(close, n)[-1]) / last, atr)
    line = np.array(ema(close, 12)[14:]) - np.array(ema(close, 26))
    found["macd_histogram"] = ratio((line[-1] - ema(line, 9)[-1]) / last, atr)
    for n in (7, 14):
        up, down = wilder(np.maximum(changes, 0), n)[-1], wilder(np.maximum(-changes, 0), n)[-1]
        found[f"rsi_{n}"] = ratio(up - down, up + down)
    found["up_share_20"] = float(np.sign(changes[-20:]).mean())
    found["deviation_ratio"] = ratio(found["deviation_10"], found["deviation_120"])
    unit = (changes[-60:] - changes[-60:].mean()) / max(float(np.std(changes[-60:])), 1e-12)
    found["skew_60"] = float((unit**3).mean())
    found["autocorrelation_60"] = float((unit[1:] * unit[:-1]).mean())
    top, bottom = max(opened[-1], last), min(opened[-1], last)
    found["bar_range"] = ratio((high[-1] - low[-1]) / last, atr)
    found["bar_body"] = ratio((last - opened[-1]) / last, atr)
    found["bar_upper_wick"] = ratio((high[-1] - top) / last, atr)
    found["bar_lower_wick"] = ratio((bottom - low[-1]) / last, atr)
    found |= directional(high, low, last)
    found |= places(high, low, close, last)
    found |= volumes(window, changes, atr)
    return found, atr


def directional(high: Row, low: Row, last: float) -> dict[str, float]:
    up, down = np.diff(high) / last, -np.diff(low) / last
    band = 3e-7
    plus = np.where((up - down > band) & (up > band), up, 0.0)
    minus = np.where((down - up > band) & (down > band), down, 0.0)
    index = np.array(
        [ratio(p - m, p + m) for p, m in zip(wilder(plus, 14), wilder(minus, 14), strict=True)]
    )
    return {"di_difference_14": float(index[-1]), "adx_14": wilder(abs(index), 14)[-1]}


def places(high: Row, low: Row, close: Row, last: float) -> dict[str, float]:
    away = (close[-20:] - last) / last
    found = {"bollinger_20": ratio(-float(away.mean()), float(np.std(away)))}
    for n in (20, 60, 128):
        height = (high[-n:].max() - low[-n:].min()) / last
        found[f"position_{n}"] = ratio((last - low[-n:].min()) / last, height)
    since_top = int(np.argmax(high[-26:][::-1]))
    since_bottom = int(np.argmin(low[-26:][::-1]))
    found["aroon_25"] = (since_bottom - since_top) / 25.0
    return found


def volumes(window: npt.NDArray[np.float32], changes: Row, atr: float) -> dict[str, float]:
    _, high, low, close, volume = (window[:, i].astype(np.float64) for i in range(5))
    last = close[-1]
    share = volume / volume.mean() if volume.any() else volume
    recent = share[-20:]
    traded = max(float(recent.sum()), 1e-6)
    height = np.maximum((high - low)[-20:] / last, 1e-12)
    pressure = ((close - low) - (high - close))[-20:] / last / height
    hour = share[-60:]
    vwap = float(((last - close[-60:]) / last * hour).sum()) / max(float(hour.sum()), 1e-6)
    return {
        "volume_last": float(np.log1p(share[-1])),
        "volume_ratio_5_60": float(share[-5:].mean()) / max(float(hour.mean()), 1e-6),
        "volume_signed_20": float((np.sign(changes[-20:]) * recent).sum()) / traded,
        "volume_flow_20": float((pressure * recent).sum()) / traded,
        "vwap_distance_60": ratio(vwap, atr),
    }
