"""The models' shares in the ensemble: a small step at a time, through the fund's policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.analytics.core.learning.samples import ENSEMBLE
from services.analytics.core.learning.supervisor import Proposal, propose_weights
from services.analytics.core.learning.tally import Tally
from services.analytics.learning.progress import Progress
from services.analytics.learning.references import Reference
from services.analytics.policy.store import PolicyStore

CLM = "CLM"
"""Who changes the policy here."""


class ModelShares:
    """Proposes shares and has the policy say them; shares that a person set stay."""

    def __init__(
        self, policies: PolicyStore, changed: Callable[[], None], *, enabled: bool
    ) -> None:
        """`changed` is called after a version was made."""
        self._policies = policies
        self._enabled = enabled
        self.announce = changed

    async def own(self, found: Mapping[str, Tally]) -> dict[str, float]:
        """Return the shares by which a window was answered; none when the policy set them."""
        newest = await self._policies.version()
        shares = {} if newest.policy.model_weights else _models(found)
        total = sum(tally.weight for tally in shares.values())
        return {name: tally.weight / total for name, tally in shares.items()} if total > 0 else {}

    async def proposed(
        self, progress: Progress, found: Mapping[str, Tally], reference: Reference | None
    ) -> Proposal | None:
        """Return the shares that the policy is to say from now on; None to leave them.

        Empty ones, the artifact's own, when those in force were made for another artifact.
        """
        policy = (await self._policies.version()).policy
        held = policy.model_weights
        if not (self._enabled and policy.clm_enabled):
            return None
        if held and await self._policies.changed_by("model_weights") != CLM:
            return None
        if held and progress.shares_of != progress.active_version:
            return Proposal({}, (f"{progress.active_version} answers, by its own shares",))
        own = await self.own(found) if reference is None else reference.shares
        return propose_weights(own, held, _models(found)) if own else None

    async def apply(self, connection: Any, proposal: Proposal) -> None:
        """Make a version of the policy in the caller's transaction."""
        changes = {"model_weights": dict(proposal.weights)}
        await self._policies.update(
            changes, by=CLM, reasons=proposal.reasons, connection=connection
        )


def _models(found: Mapping[str, Tally]) -> dict[str, Tally]:
    return {name: tally for name, tally in found.items() if name != ENSEMBLE}
