"""What this replica said itself: read back from the bus, it need not be taken apart.

The bus decides which answers count and in which order, so that replicas agree; what an answer holds
its maker knows. Reading it from the bytes was the dearest step of a candle's way.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from services.ai.core.answers import Batch
from services.ai.core.ensemble import DOWN, UP, Prediction
from services.kit.bus.bus import Message, Outgoing

_KEPT = 64
"""Batches that were sent and not read back yet; a repeat that the bus leaves out never is."""


class OwnWords:
    """Batches on their way through the bus, by the id of their message."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, tuple[Batch, bytes]] = OrderedDict()

    def say(self, batch: Batch, message: Outgoing) -> None:
        """Note what is about to be sent."""
        self._sent[message.message_id] = batch, message.data
        if len(self._sent) > _KEPT:
            self._sent.popitem(last=False)

    def heard(self, message: Message) -> Batch | None:
        """Return the batch of a message to the byte; None when it is another's."""
        batch, data = self._sent.pop(message.message_id, (None, b""))
        return batch if data == message.data else None


def votes_of(batch: Batch) -> tuple[tuple[str, ...], npt.NDArray[np.float64]] | None:
    """Return the models, and [candles, models, 3] of what they said: down, up, weight.

    None when no model was asked, or not all in one run.
    """
    asked = [a.prediction for a in batch.answers if a.prediction.outputs is not None]
    if not asked or not _of_one_run(asked):
        return None
    outputs = asked[0].outputs
    assert outputs is not None  # noqa: S101 - asked
    said = outputs.model_probabilities[[p.row for p in asked]]
    weights = np.array([p.weights for p in asked])
    return tuple(asked[0].models), np.stack((said[:, :, DOWN], said[:, :, UP], weights), axis=2)


def _of_one_run(asked: list[Prediction]) -> bool:
    first = asked[0]
    return all(p.outputs is first.outputs and p.models is first.models for p in asked)
