"""Who called is what the gateway says of the token, and nothing else."""

from __future__ import annotations

import pytest

from services.kit.caller import subject_of


class Call:
    """A call with its metadata."""

    def __init__(self, *pairs: tuple[str, str | bytes]) -> None:
        self._pairs = pairs or None

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...] | None:
        return self._pairs


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Call(("x-token-subject", "ops@example.com")), "ops@example.com"),
        (Call(("x-token-role", "admin"), ("x-token-subject", b"eve")), "eve"),
        (Call(("x-token-subject", "")), "operator"),
        (Call(("x-token-subject", "a" * 1000)), "a" * 128),
        (Call(("authorization", "Bearer x")), "operator"),
        (Call(), "operator"),
    ],
)
def test_the_subject_of_the_token_or_nobody(call: Call, expected: str) -> None:
    assert subject_of(call, "operator") == expected
