"""Holds requests against the rules of the contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import protovalidate
from google.protobuf.message import Message

from services.kit.errors import InvalidArgument, Violation
from services.kit.interceptors.wrap import Call, WrappingInterceptor


class ValidationInterceptor(WrappingInterceptor):
    """Refuses a request that breaks a rule, naming each field and rule."""

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Check the request before the method sees it."""
        return self._check(call)

    @asynccontextmanager
    async def _check(self, call: Call) -> AsyncIterator[None]:
        if isinstance(call.request, Message):
            check(call.request)
        yield


def check(message: Message) -> None:
    """Hold a message against its rules; InvalidArgument names each field and rule it breaks."""
    try:
        protovalidate.validate(message)
    except protovalidate.ValidationError as error:
        violations = [
            Violation(
                ".".join(e.field_name for e in v.proto.field.elements),
                v.proto.message or v.proto.rule_id,
            )
            for v in error.violations
        ]
        text = "; ".join(f"{v.field}: {v.rule}" for v in violations)
        raise InvalidArgument(text, violations=violations) from None
