"""The fund's policy and directives as the bus tells them, for the term that leads now."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from google.protobuf.message import DecodeError
from quantum.analytics.v1 import policy_pb2

from services.catalog import subjects
from services.catalog.events import DIRECTIVE_ISSUED
from services.exec_risk.core.inputs import DirectiveHeard, PolicyRead
from services.kit.bus.bus import Bus, Message
from services.kit.bus.followed_key import FollowedKey
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.trade.codec import CodecError
from services.trade.policy_book import PolicyBook
from services.trade.policy_codec import directive_from_pb, policy_from_pb

log = get_logger(__name__)

_KEPT = 256
"""Directives that a term which begins is told again; it knows which it has answered."""


class FundReader:
    """Keeps what was told, so that a term may begin at any time."""

    def __init__(
        self,
        *,
        account: str,
        clock: Clock,
        put: Callable[[PolicyRead | DirectiveHeard], None],
        on_unreadable: Callable[[str], None],
        patience: float = 60.0,
    ) -> None:
        self._account = account
        self._put = put
        self._on_unreadable = on_unreadable
        self._key = FollowedKey(
            stream=subjects.POLICY.name,
            key=subjects.FUND_POLICY,
            clock=clock,
            patience=patience,
        )
        self._book = PolicyBook()
        self._directives: deque[DirectiveHeard] = deque(maxlen=_KEPT)

    @property
    def away(self) -> bool:
        """True while a newer version could not reach this process."""
        return not self._key.readable

    @property
    def version(self) -> int:
        """Newest version that was read; 0 before the first."""
        return self._book.newest

    def told(self) -> list[PolicyRead | DirectiveHeard]:
        """Return what a term that begins must know."""
        found: list[PolicyRead | DirectiveHeard] = [*self._directives]
        if self._book.versions:
            found.insert(0, PolicyRead(self._book.versions))
        return found

    async def start(self, bus: Bus) -> None:
        """Follow both; returns when every stored version was read."""
        await self._key.start(bus, self._policy)
        issued = f"quantum.events.{DIRECTIVE_ISSUED}.{self._account}.>"
        await bus.follow(subjects.EVENTS.name, issued, self._directive, start="all")

    def _policy(self, message: Message) -> None:
        try:
            policy = policy_from_pb(policy_pb2.FundPolicy.FromString(message.data))
        except (CodecError, DecodeError) as error:
            self._unreadable("policy", message, error)
            return
        if self._book.learn(policy):
            log.info("policy_read", version=policy.version, fund_mode=policy.fund_mode)
            self._put(PolicyRead((policy,)))

    def _directive(self, message: Message) -> None:
        try:
            directive = directive_from_pb(policy_pb2.Directive.FromString(message.data))
        except (CodecError, DecodeError) as error:
            self._unreadable("directive", message, error)
            return
        heard = DirectiveHeard(directive)
        self._directives.append(heard)
        self._put(heard)

    def _unreadable(self, what: str, message: Message, error: Exception) -> None:
        log.error("fund_message_unreadable", what=what, subject=message.subject, error=str(error))
        self._on_unreadable(str(error))
