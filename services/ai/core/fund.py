"""What the fund's policy says of signals: how many candles may become one, and who votes."""

from __future__ import annotations

from collections.abc import Mapping

from services.ai.core.manifest import Manifest
from services.trade.fund_modes import limits_in
from services.trade.policy_book import PolicyBook


def share_at(book: PolicyBook, time: int, otherwise: float) -> float:
    """Return the share of candles that may become signals at a market time.

    `otherwise` holds before the first version: exec_risk enters nothing then.
    """
    policy = book.at(time)
    return otherwise if policy is None else limits_in(policy).signal_share


def weights_at(book: PolicyBook, time: int, manifest: Manifest) -> tuple[float, ...]:
    """Return the policy's shares of the artifact's models, 1 in all; empty: the artifact's own.

    Shares of models that the artifact does not have go to those that it has.
    """
    policy = book.at(time)
    return () if policy is None else _shares(policy.model_weights, manifest)


def _shares(asked: Mapping[str, float], manifest: Manifest) -> tuple[float, ...]:
    found = [asked.get(name, 0.0) for name in manifest.models]
    total = sum(found)
    return tuple(share / total for share in found) if total > 0 else ()


def combined(asked: tuple[float, ...], watched: tuple[float, ...]) -> tuple[float, ...]:
    """Return the asked shares without the models that are excluded; empty asks for nothing."""
    if not asked:
        return watched
    left = [share if weight > 0 else 0.0 for share, weight in zip(asked, watched, strict=True)]
    total = sum(left)
    return tuple(share / total for share in left) if total > 0 else tuple(left)
