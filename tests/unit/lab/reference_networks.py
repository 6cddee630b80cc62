"""The networks in plain float64 NumPy, from the same named weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from services.lab.training import networks
from services.lab.training.features import WINDOW
from services.lab.training.series import CHANNELS, CLOSE, LEVELS

Array = npt.NDArray[np.float64]
Weights = Mapping[str, npt.NDArray[np.float32]]


def linear(x: Array, w: Weights, name: str) -> Array:
    found: Array = x @ w[f"{name}.w"].astype(np.float64) + w[f"{name}.b"]
    return found


def nhits(series: Array, level: Array, w: Weights) -> Array:
    """Margins [N, 3], one window at a time."""
    return np.stack([_nhits(one, wild, w) for one, wild in zip(series, level, strict=True)])


def _nhits(series: Array, level: Array, w: Weights) -> Array:
    residual = series[CLOSE].copy()
    paths = np.zeros((2, networks.PATH))
    for index, pool in enumerate(networks.POOLS):
        views = [
            [max(row[start : start + pool]) for start in range(0, WINDOW, pool)]
            for row in (*series, residual)
        ]
        hidden = np.concatenate([*views, level])
        for layer in "ab":
            hidden = np.maximum(0, linear(hidden, w, f"stack{index}.{layer}"))
        knots = linear(hidden, w, f"stack{index}.knots")
        back, front = networks.BACKCAST_KNOTS[index], networks.FORECAST_KNOTS[index]
        grid = np.linspace(0, back - 1, WINDOW)
        residual = residual - np.interp(grid, np.arange(back), knots[:back])
        grid = np.linspace(0, front - 1, networks.PATH)
        for path in range(2):
            part = knots[back + path * front : back + (path + 1) * front]
            paths[path] += np.interp(grid, np.arange(front), part)
    hidden = np.maximum(0, linear(np.concatenate([paths.ravel(), level]), w, "head.a"))
    return linear(hidden, w, "head.b")


def patchtst(series: Array, level: Array, w: Weights) -> Array:
    """Margins [N, 3], one window at a time."""
    return np.stack([_patchtst(one, wild, w) for one, wild in zip(series, level, strict=True)])


def _patchtst(series: Array, level: Array, w: Weights) -> Array:
    size = networks.PATCH
    tokens = np.stack(
        [series[:, n * size : (n + 1) * size].ravel() for n in range(networks.PATCHES)]
    )
    x = tokens @ w["embed.w"].astype(np.float64) + w["embed.place"]
    for layer in range(networks.LAYERS):
        query, key, value = (linear(x, w, f"layer{layer}.{part}") for part in "qkv")
        powers = np.exp(query @ key.T / np.sqrt(x.shape[1]))
        shares = powers / powers.sum(axis=1, keepdims=True)
        x = x + linear(shares @ value, w, f"layer{layer}.o")
        hidden = np.maximum(0, linear(x, w, f"layer{layer}.a"))
        x = x + linear(hidden, w, f"layer{layer}.b")
    return linear(np.concatenate([x.ravel(), level]), w, "head")


def random_weights(name: str, seed: int = 1, width: int = 8) -> dict[str, npt.NDArray[np.float32]]:
    """Return weights of a small network that nobody trained."""
    random = np.random.default_rng(seed)
    sizes: dict[str, tuple[int, int]] = {}
    if name == "nhits":
        for index, pool in enumerate(networks.POOLS):
            read = (len(CHANNELS) + 1) * WINDOW // pool + LEVELS
            knots = networks.BACKCAST_KNOTS[index] + 2 * networks.FORECAST_KNOTS[index]
            sizes[f"stack{index}.a"] = (read, width)
            sizes[f"stack{index}.b"] = (width, width)
            sizes[f"stack{index}.knots"] = (width, knots)
        sizes |= {"head.a": (2 * networks.PATH + LEVELS, width), "head.b": (width, 3)}
    else:
        sizes["embed"] = (len(CHANNELS) * networks.PATCH, width)
        for layer in range(networks.LAYERS):
            sizes |= {f"layer{layer}.{part}": (width, width) for part in "qkvo"}
            sizes[f"layer{layer}.a"] = (width, 2 * width)
            sizes[f"layer{layer}.b"] = (2 * width, width)
        sizes["head"] = (networks.PATCHES * width + LEVELS, 3)
    found = {}
    for part, (rows, columns) in sizes.items():
        scale = rows**-0.5
        found[f"{part}.w"] = random.normal(0, scale, (rows, columns)).astype(np.float32)
        found[f"{part}.b"] = random.normal(0, 0.1, columns).astype(np.float32)
    if name == "patchtst":
        del found["embed.b"]
        found["embed.place"] = random.normal(0, 0.1, (networks.PATCHES, width)).astype(np.float32)
    return found
