"""Health of a process: liveness under "", readiness under the full service name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

from services.kit.errors import Unavailable

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True, slots=True)
class Component:
    """One part that a process depends on."""

    name: str
    ready: bool
    reason: str = ""


class Components:
    """The parts that a process depends on, each ready or not with a reason."""

    def __init__(self) -> None:
        self._parts: dict[str, Component] = {}
        self._listeners: list[Callable[[], None]] = []

    def set(self, name: str, ready: bool, reason: str = "") -> None:
        """Tell how a part is."""
        part = Component(name, ready, "" if ready else reason or "not ready")
        if self._parts.get(name) != part:
            self._parts[name] = part
            for listener in self._listeners:
                listener()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call the listener after each change."""
        self._listeners.append(listener)

    @property
    def ready(self) -> bool:
        """True when there are parts and all are ready."""
        return bool(self._parts) and all(p.ready for p in self._parts.values())

    def is_ready(self, name: str) -> bool:
        """Say whether one part is ready; False when it is not known."""
        part = self._parts.get(name)
        return part is not None and part.ready

    def snapshot(self) -> list[Component]:
        """Return all parts in the order in which they were first told of."""
        return list(self._parts.values())

    def reasons(self) -> list[str]:
        """Return `name: reason` of each part that is not ready."""
        return [f"{p.name}: {p.reason}" for p in self._parts.values() if not p.ready]

    def require_ready(self, service: str) -> None:
        """Raise Unavailable with every part as details unless all are ready."""
        if not self.ready:
            raise Unavailable(
                f"{service} is not ready: {'; '.join(self.reasons()) or 'starting'}",
                reason="NOT_READY",
                metadata={p.name: "ready" if p.ready else p.reason for p in self.snapshot()},
            )


class Health:
    """The `grpc.health.v1` answers of a process."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.servicer = HealthServicer()

    async def start(self) -> None:
        """Say NOT_SERVING everywhere; a fresh servicer would say SERVING before we are."""
        await self.set("", serving=False)
        await self.set(self.service, serving=False)

    async def set(self, name: str, *, serving: bool) -> None:
        """Tell whether a name serves."""
        await self.servicer.set(name, SERVING if serving else NOT_SERVING)

    async def shut_down(self) -> None:
        """Say NOT_SERVING for good."""
        await self.servicer.enter_graceful_shutdown()
