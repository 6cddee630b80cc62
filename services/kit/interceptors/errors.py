"""Turns exceptions into canonical codes with `google.rpc` details; nothing else leaks out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.kit.errors import DOMAIN, ServiceError
from services.kit.interceptors.wrap import Call, WrappingInterceptor
from services.kit.observe.logs import get_logger
from services.kit.observe.trace_context import current_trace_id

log = get_logger(__name__)

_INTERNAL = "internal error; the log has it under this trace id"


class ErrorInterceptor(WrappingInterceptor):
    """Answers with a code, a sentence and details."""

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Translate what the call raises."""
        return self._translate(call)

    @asynccontextmanager
    async def _translate(self, call: Call) -> AsyncIterator[None]:
        try:
            yield
        except (grpc.aio.AbortError, GeneratorExit):
            raise
        except ServiceError as error:
            await _abort(call, status_of(error))
        except Exception:
            log.exception("call_failed", method=call.method)
            metadata = {"trace_id": current_trace_id()}
            await _abort(call, status_of(ServiceError(_INTERNAL, metadata=metadata)))


def status_of(error: ServiceError) -> status_pb2.Status:
    """Return the `google.rpc.Status` of an error: always an ErrorInfo, others where they apply."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    ]
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad.field_violations.add(field=violation.field, description=violation.rule)
        details.append(bad)
    if error.code is grpc.StatusCode.FAILED_PRECONDITION:
        failure = error_details_pb2.PreconditionFailure()
        failure.violations.add(type=error.reason, description=error.message)
        details.append(failure)
    if error.retry_seconds is not None:
        wait = duration_pb2.Duration()
        wait.FromMilliseconds(int(error.retry_seconds * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=wait))
    packed = []
    for detail in details:
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)
        packed.append(wrapped)
    return status_pb2.Status(code=error.code.value[0], message=error.message, details=packed)


async def _abort(call: Call, status: status_pb2.Status) -> None:
    # `abort_with_status` would leave the span without its code.
    answer = rpc_status.to_status(status)
    await call.context.abort(answer.code, answer.details, answer.trailing_metadata)
