"""Wraps a method of any of the four shapes in an async context manager."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import grpc

INFRASTRUCTURE = ("/grpc.health.", "/grpc.reflection.")
"""Methods that are not wrapped as a rule: health watches use a form that wrappers break."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that is being handled."""

    method: str
    context: grpc.aio.ServicerContext[Any, Any]
    request: Any
    """The request; None when the caller streams."""
    streams: bool
    """True when the answer is a stream."""


Around = Callable[[Call], AbstractAsyncContextManager[None]]


class WrappingInterceptor(grpc.aio.ServerInterceptor):
    """Runs every method, also streaming ones, inside `around`."""

    def wraps(self, method: str) -> bool:
        """Say whether a method, `/package.Service/Method`, is wrapped."""
        return not method.startswith(INFRASTRUCTURE)

    @abstractmethod
    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Return what surrounds the call."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of the called method."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not self.wraps(method):
            return handler
        return wrap(handler, method, self.around)


def wrap(handler: Any, method: str, around: Around) -> Any:
    """Return a handler of the same shape that runs inside `around`."""
    inner = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )

    def call(request: Any, context: Any) -> Call:
        known = None if handler.request_streaming else request
        return Call(method, context, known, bool(handler.response_streaming))

    async def single(request: Any, context: Any) -> Any:
        async with around(call(request, context)):
            return await inner(request, context)

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        async with around(call(request, context)):
            async for response in inner(request, context):
                yield response

    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    maker: Any = makers[bool(handler.request_streaming), bool(handler.response_streaming)]
    behaviour = stream if handler.response_streaming else single
    return maker(behaviour, handler.request_deserializer, handler.response_serializer)
