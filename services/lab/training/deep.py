"""The two networks in torch: fitted on one thread, the same with the same seed.

Only training imports this module; it needs the extra `.[deep]`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from services.lab.training import networks
from services.lab.training.data import Inputs
from services.lab.training.features import WINDOW
from services.lab.training.members import NetPlan
from services.lab.training.series import CHANNELS, CLOSE, LEVELS

CLASSES = 3
Weights = dict[str, npt.NDArray[np.float32]]


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)
    return found


def _put(weights: Weights, name: str, layer: nn.Linear, norm: nn.BatchNorm1d | None = None) -> None:
    """Keep a layer as `x @ w + b`, with the normalisation before it folded in."""
    w, b = layer.weight.T.double(), layer.bias.double()
    if norm is not None:
        assert norm.running_var is not None and norm.running_mean is not None  # noqa: S101
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        shift = norm.bias.double() - norm.running_mean.double() * scale
        w, b = scale[:, None] * w, b + shift @ w
    weights[f"{name}.w"], weights[f"{name}.b"] = _array(w.float()), _array(b.float())


class NHits(nn.Module):
    """N-HiTS with two forecast paths, read by a small head together with the level."""

    def __init__(self, plan: NetPlan) -> None:
        super().__init__()
        self.stacks = nn.ModuleList()
        for index, pool in enumerate(networks.POOLS):
            size = (len(CHANNELS) + 1) * WINDOW // pool + LEVELS
            knots = networks.BACKCAST_KNOTS[index] + 2 * networks.FORECAST_KNOTS[index]
            layers = [
                nn.Linear(size, plan.hidden),
                nn.Linear(plan.hidden, plan.hidden),
                nn.Linear(plan.hidden, knots),
            ]
            self.stacks.append(nn.ModuleList(layers))
        self.head = nn.ModuleList(
            [nn.Linear(2 * networks.PATH + LEVELS, plan.width), nn.Linear(plan.width, CLASSES)]
        )
        self.dropout = nn.Dropout(plan.dropout)

    def forward(self, series: Tensor, level: Tensor) -> Tensor:
        """Return margins [N, 3]."""
        residual = series[:, CLOSE : CLOSE + 1]
        paths = torch.zeros(series.shape[0], 2 * networks.PATH)
        for index, pool in enumerate(networks.POOLS):
            first, second, last = self.stacks[index]
            views = [nn.functional.max_pool1d(x, pool).flatten(1) for x in (series, residual)]
            hidden = torch.relu(first(torch.cat([*views, level], dim=1)))
            knots = last(self.dropout(torch.relu(second(hidden))))
            back, front = networks.BACKCAST_KNOTS[index], networks.FORECAST_KNOTS[index]
            spread = torch.from_numpy(networks.interpolation(back, WINDOW))
            residual = residual - (knots[:, :back] @ spread)[:, None]
            path = torch.from_numpy(networks.interpolation(front, networks.PATH))
            both = knots[:, back:].reshape(-1, 2, front) @ path
            paths = paths + both.flatten(1)
        first, last = self.head
        margins: Tensor = last(torch.relu(first(torch.cat([paths, level], dim=1))))
        return margins

    def weights(self) -> Weights:
        """Return the network as arrays."""
        found: Weights = {}
        for index, stack in enumerate(self.stacks):
            for name, layer in zip(("a", "b", "knots"), stack, strict=True):
                _put(found, f"stack{index}.{name}", layer)
        for name, layer in zip("ab", self.head, strict=True):
            _put(found, f"head.{name}", layer)
        return found


class PatchTst(nn.Module):
    """PatchTST with all channels in a patch, one head, and batch normalisation before layers."""

    def __init__(self, plan: NetPlan) -> None:
        super().__init__()
        width = plan.width
        self.width = width
        self.embed = nn.Linear(len(CHANNELS) * networks.PATCH, width)
        self.place = nn.Parameter(0.02 * torch.randn(networks.PATCHES, width))
        self.layers = nn.ModuleList()
        for _ in range(networks.LAYERS):
            parts = {name: nn.Linear(width, width) for name in "qkvo"}
            parts |= {"a": nn.Linear(width, 2 * width), "b": nn.Linear(2 * width, width)}
            norms = {name: nn.BatchNorm1d(width) for name in ("before", "between")}
            self.layers.append(nn.ModuleDict(parts | norms))
        self.dropout = nn.Dropout(plan.dropout)
        self.final = nn.BatchNorm1d(width)
        self.head = nn.Linear(networks.PATCHES * width + LEVELS, CLASSES)

    def forward(self, series: Tensor, level: Tensor) -> Tensor:
        """Return margins [N, 3]."""
        cut = series.reshape(-1, len(CHANNELS), networks.PATCHES, networks.PATCH)
        x = self.embed(cut.transpose(1, 2).flatten(2)) + self.place
        for layer in self.layers:
            normal = _normalise(layer["before"], x)
            query, key, value = (layer[name](normal) for name in "qkv")
            shares = torch.softmax(query @ key.transpose(1, 2) * self.width**-0.5, dim=-1)
            x = x + self.dropout(layer["o"](shares @ value))
            hidden = torch.relu(layer["a"](_normalise(layer["between"], x)))
            x = x + self.dropout(layer["b"](hidden))
        flat = self.dropout(_normalise(self.final, x).flatten(1))
        margins: Tensor = self.head(torch.cat([flat, level], dim=1))
        return margins

    def weights(self) -> Weights:
        """Return the network as arrays, normalisations folded into what follows them."""
        found: Weights = {}
        _put(found, "embed", self.embed)
        found["embed.place"] = found.pop("embed.b") + _array(self.place)
        for index, layer in enumerate(self.layers):
            for name in "qkv":
                _put(found, f"layer{index}.{name}", layer[name], layer["before"])
            _put(found, f"layer{index}.o", layer["o"])
            _put(found, f"layer{index}.a", layer["a"], layer["between"])
            _put(found, f"layer{index}.b", layer["b"])
        _put(found, "head", self.head, self._final_over_all())
        return found

    def _final_over_all(self) -> nn.BatchNorm1d:
        """Return the last normalisation as one of the head's whole input."""
        times = networks.PATCHES
        whole = nn.BatchNorm1d(times * self.width + LEVELS, eps=self.final.eps)
        assert self.final.running_mean is not None  # noqa: S101
        assert self.final.running_var is not None  # noqa: S101
        quiet = torch.full((LEVELS,), 1.0 - self.final.eps)
        for target, source, rest in (
            (whole.weight.data, self.final.weight.data, torch.ones(LEVELS)),
            (whole.bias.data, self.final.bias.data, torch.zeros(LEVELS)),
            (whole.running_mean, self.final.running_mean, torch.zeros(LEVELS)),
            (whole.running_var, self.final.running_var, quiet),
        ):
            assert target is not None  # noqa: S101
            target.copy_(torch.cat([source.repeat(times), rest]))
        return whole


def _normalise(norm: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = norm(x.flatten(0, 1)).reshape(x.shape)
    return found


NETWORKS: dict[str, Callable[[NetPlan], NHits | PatchTst]] = {"nhits": NHits, "patchtst": PatchTst}


def fit(
    name: str, inputs: Inputs, labels: npt.NDArray[np.int64], plan: NetPlan
) -> NHits | PatchTst:
    """Fit a network and return it ready to predict."""
    torch.set_num_threads(1)
    torch.manual_seed(plan.seed)
    network = NETWORKS[name](plan)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
    )
    steps = max(1, labels.size // plan.batch) * plan.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=plan.learning_rate, total_steps=steps + 1
    )
    series, level = torch.from_numpy(inputs.series), torch.from_numpy(inputs.level)
    target = torch.from_numpy(labels)
    random = np.random.default_rng(plan.seed)
    for _ in range(plan.epochs):
        network.train()
        order = torch.from_numpy(random.permutation(labels.size))
        for start in range(0, labels.size - plan.batch + 1, plan.batch):
            chosen = order[start : start + plan.batch]
            optimiser.zero_grad()
            margins = network(series[chosen], level[chosen])
            loss = nn.functional.cross_entropy(margins, target[chosen])
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    network.eval()
    return network


def predict(network: NHits | PatchTst, inputs: Inputs) -> npt.NDArray[np.float64]:
    """Return the probabilities [N, 3] that torch computes."""
    with torch.no_grad():
        margins = network(torch.from_numpy(inputs.series), torch.from_numpy(inputs.level))
        found: npt.NDArray[np.float64] = torch.softmax(margins.double(), dim=1).numpy()
    return found
