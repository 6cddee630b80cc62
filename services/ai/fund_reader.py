"""The fund's policy as the bus tells it to ai."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from quantum.analytics.v1 import policy_pb2

from services.ai.core import fund
from services.ai.core.manifest import Manifest
from services.catalog import subjects
from services.kit.bus.bus import Bus, Message
from services.kit.bus.followed_key import FollowedKey
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.trade.codec import CodecError
from services.trade.policy_book import PolicyBook
from services.trade.policy_codec import policy_from_pb

log = get_logger(__name__)


class FundReader:
    """Keeps the versions; without any, SIGNAL_SHARE and the artifact's own weights hold.

    An unreadable policy needs nothing here: without the bus there are no signals either.
    """

    def __init__(self, *, clock: Clock, share: float) -> None:
        self._key = FollowedKey(stream=subjects.POLICY.name, key=subjects.FUND_POLICY, clock=clock)
        self._share = share
        self.book = PolicyBook()

    async def start(self, bus: Bus) -> None:
        """Follow; returns when every stored version was read."""
        await self._key.start(bus, self._read)

    def share(self, time: int) -> float:
        """Return the share of candles that may become signals at a market time."""
        return fund.share_at(self.book, time, self._share)

    def weights(self, manifest: Manifest, time: int) -> tuple[float, ...]:
        """Return the policy's shares of the models; empty: the artifact's own."""
        return fund.weights_at(self.book, time, manifest)

    def _read(self, message: Message) -> None:
        try:
            policy = policy_from_pb(policy_pb2.FundPolicy.FromString(message.data))
        except (CodecError, DecodeError) as error:
            log.error("policy_unreadable", subject=message.subject, error=str(error))
            return
        if self.book.learn(policy):
            log.info("policy_read", version=policy.version, fund_mode=policy.fund_mode)
