"""What can go wrong in words that a caller understands.

ServiceError
├── InvalidArgument      INVALID_ARGUMENT     a field breaks a rule
├── NotFound             NOT_FOUND            what was named does not exist
├── AlreadyExists        ALREADY_EXISTS       what was to be made exists
├── FailedPrecondition   FAILED_PRECONDITION  the system's state forbids it now
├── PermissionDenied     PERMISSION_DENIED    the caller may not
├── ResourceExhausted    RESOURCE_EXHAUSTED   a limit is used up; wait
└── Unavailable          UNAVAILABLE          a part is missing; try again

Cores and servicers raise these; `interceptors.errors` turns them into canonical codes with
`google.rpc` details. Anything else becomes INTERNAL with a fixed text, its traceback in the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc

DOMAIN = "quantum-trader"


@dataclass(frozen=True, slots=True)
class Violation:
    """One field and the rule that it breaks."""

    field: str
    rule: str


class ServiceError(Exception):
    """An error that the caller is told about, with a reason for programs."""

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL
    reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_seconds = retry_seconds


class InvalidArgument(ServiceError):
    """A field breaks a rule."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    @classmethod
    def of(cls, field: str, rule: str) -> InvalidArgument:
        """Make the error of one field."""
        return cls(f"{field}: {rule}", violations=[Violation(field, rule)])


class NotFound(ServiceError):
    """What was named does not exist."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(ServiceError):
    """What was to be made exists."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class FailedPrecondition(ServiceError):
    """The system's state forbids it now."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class PermissionDenied(ServiceError):
    """The caller may not."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class ResourceExhausted(ServiceError):
    """A limit is used up; `retry_seconds` says how long to wait."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "RESOURCE_EXHAUSTED"


class Unavailable(ServiceError):
    """A part is missing; `metadata` names the parts and why."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"
