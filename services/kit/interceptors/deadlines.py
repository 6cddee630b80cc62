"""Every unary call ends: by the caller's deadline, or by ours when it sent none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpc

from services.kit.interceptors.wrap import Call, WrappingInterceptor


class DeadlineInterceptor(WrappingInterceptor):
    """Bounds unary calls; streams live until their caller or a drain ends them."""

    def __init__(self, longest_seconds: float) -> None:
        self._longest = longest_seconds

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Bound one call."""
        return self._bound(call)

    @asynccontextmanager
    async def _bound(self, call: Call) -> AsyncIterator[None]:
        if call.streams:
            yield
            return
        left = call.context.time_remaining()
        seconds = self._longest if left is None else min(left, self._longest)
        try:
            async with asyncio.timeout(seconds) as scope:
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            text = f"the call took longer than {seconds:.1f} s"
            await call.context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, text)
