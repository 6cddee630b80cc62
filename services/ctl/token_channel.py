"""A channel to the gateway that shows the operator's token, and says what to do when refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

from services.ctl import policy, tokens
from services.ctl.supervisor.home import Home, Refused

HEADER = "authorization"
ROLE_CHECK = "RBAC: access denied"
"""How the gateway words that a role is too small."""


def token_channel(home: Home, address: str) -> grpc.aio.Channel:
    """Open a channel; the token is read for each call, since the supervisor renews it."""
    return grpc.aio.insecure_channel(address, interceptors=[_Token(home)])


class _Token(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, home: Home) -> None:
        self._home = home

    async def intercept_unary_unary(
        self,
        continuation: Callable[[Any, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        token = tokens.read_token(self._home)
        metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()))
        if token:
            metadata.add(HEADER, f"Bearer {token}")
        call = await continuation(_with(client_call_details, metadata), request)
        code = await call.code()
        if code is grpc.StatusCode.UNAUTHENTICATED:
            raise Refused(self._unknown(token, await call.details()))
        if code is grpc.StatusCode.PERMISSION_DENIED and await call.details() == ROLE_CHECK:
            raise Refused(self._too_small(token, client_call_details.method))
        return call

    def _unknown(self, token: str, details: str) -> str:
        file = tokens.token_file(self._home)
        if not token:
            return f"the call takes a token and {file} holds none: `qt up` of this home writes it"
        expiry = tokens.claims(token).get("exp", 0)
        if expiry and expiry < time.time():
            return (
                f"the token in {file} ended {time.time() - expiry:.0f} s ago:"
                " `qt up` renews it while it runs, `qt ps` shows whether it does"
            )
        return (
            f"the gateway does not take the token in {file} ({details}):"
            " remove the file, the running `qt up` writes a new one"
        )

    def _too_small(self, token: str, method: bytes | str) -> str:
        path = method.decode() if isinstance(method, bytes) else method
        _, service, name = path.split("/")
        least = policy.load().least_role(service, name)
        has = tokens.claims(token).get("role", "none")
        return (
            f"{name} takes the role {least}, and the token in {tokens.token_file(self._home)} has"
            f" the role {has}: remove the file, and the running `qt up` writes one of an admin"
        )


def _with(
    details: grpc.aio.ClientCallDetails, metadata: grpc.aio.Metadata
) -> grpc.aio.ClientCallDetails:
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
    )
