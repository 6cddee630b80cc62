"""What every message of a fact is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

UNSPECIFIED: Any = 0
# message, key of the subject, market time, trace id, what makes the message id
Parts = tuple[Message, str, int, str, tuple[str | int, ...]]


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose facts they are."""

    account: str
    venue: str
