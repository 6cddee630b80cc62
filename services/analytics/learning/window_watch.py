"""What each window of market time says: drift, the results of the models, and their shares."""

from __future__ import annotations

from typing import Any

from services.analytics.core.learning import drift, supervisor
from services.analytics.core.learning.samples import ENSEMBLE, Stage
from services.analytics.core.learning.spread import Quantity
from services.analytics.core.learning.states import Step, Told
from services.analytics.core.learning.supervisor import Proposal
from services.analytics.core.learning.tally import NOTHING, Tally
from services.analytics.core.learning.usual import remembered, usual_of
from services.analytics.learning.codec import drift_of, event_of
from services.analytics.learning.progress import Progress
from services.analytics.learning.references import Reference, References
from services.analytics.learning.settings import LearningSettings
from services.analytics.learning.shares import ModelShares
from services.analytics.learning.store import LearningStore
from services.analytics.learning.views import LearningViews
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

Tallies = dict[str, Tally]


class WindowWatch:
    """Looks at every window that has ended, once."""

    def __init__(
        self,
        *,
        store: LearningStore,
        views: LearningViews,
        references: References,
        shares: ModelShares,
        settings: LearningSettings,
    ) -> None:
        self._store = store
        self._views = views
        self._references = references
        self._shares = shares
        self._settings = settings
        self._least = settings.learning_rules.samples
        self._found: tuple[str, ...] = ()

    def drifting(self, progress: Progress) -> tuple[str, ...]:
        """Return why the active artifact drifts now; nothing when it does not."""
        return self._found if progress.drifting else ()

    async def look(self, progress: Progress) -> None:
        """Look at every window that has ended; `progress` moves on with each."""
        length = self._length
        bucket = self._settings.clm_bucket_minutes * 60_000
        if not progress.window_end:
            progress.window_end = -(-progress.judged_until // bucket) * bucket + length
        while progress.active_version and progress.judged_until >= progress.window_end:
            await self._window(progress, progress.window_end - length, progress.window_end)

    async def urgent(self, progress: Progress) -> tuple[str, ...]:
        """Return why the active artifact must be replaced now."""
        if progress.state.busy or not progress.window_end:
            return ()
        end = progress.judged_until
        tallies = await self._views.tallies(end - self._length, end)
        found = tallies.get((Stage.ACTIVE, progress.active_version, ENSEMBLE), NOTHING)
        return supervisor.urgent_reasons(found) if found.samples >= self._least else ()

    @property
    def _length(self) -> int:
        return int(self._settings.clm_window_hours * 3_600_000)

    async def _window(self, progress: Progress, start: int, end: int) -> None:
        version = progress.active_version
        tallies = await self._views.tallies(start, end)
        mine = {m: t for (s, v, m), t in tallies.items() if (s, v) == (Stage.ACTIVE, version)}
        reference, findings, indexes = await self._compared(progress, mine, start, end)
        runs = drift.in_a_row(progress.runs, findings)
        found = drift.detected(findings, runs)
        new = [f for f in found if f.key not in progress.drifting]
        proposal = await self._shares.proposed(progress, mine, reference)
        progress.runs, progress.drifting = runs, [f.key for f in found]
        progress.indexes = remembered(progress.indexes, indexes, {f.quantity for f in found})
        progress.window_end = end + self._length
        await self._save(progress, new, proposal, end)
        whole = sum(t.samples for (_, _, m), t in tallies.items() if m == ENSEMBLE)
        values = {key: _metrics_of(tally) for key, tally in tallies.items()}
        await self._store.tell_performance(values, start, end, int(whole))
        for finding in new:
            log.warning("model_drift_detected", quantity=finding.key, reason=finding.reason)
        self._found = tuple(f.reason for f in found)

    async def _save(
        self, progress: Progress, new: list[drift.Finding], proposal: Proposal | None, end: int
    ) -> None:
        """Write the window with what follows from it, the policy's version too, or nothing."""
        state = progress.state
        told = [drift_of(f, progress.active_version, end) for f in new]
        if proposal is None:
            await self._store.save(progress, told)
            return
        changed = Told(Step.WEIGHTS_CHANGED, proposal.reasons)
        told.append(event_of(changed, state, state, progress.samples, end))
        before = progress.shares_of
        progress.shares_of = progress.active_version if proposal.weights else ""

        async def applied(connection: Any) -> None:
            await self._shares.apply(connection, proposal)

        try:
            await self._store.save(progress, told, also=applied)
        except BaseException:
            progress.shares_of = before
            raise
        self._shares.announce()

    async def _compared(
        self, progress: Progress, mine: Tallies, start: int, end: int
    ) -> tuple[Reference | None, list[drift.Finding], dict[str, float]]:
        """Return what the artifact is held against, what differs, and by how much each spread.

        Nothing of too few.
        """
        version = progress.active_version
        whole = mine.get(ENSEMBLE, NOTHING)
        if whole.samples < self._least:
            return None, [], {}
        spreads = await self._views.spreads(start, end, Stage.ACTIVE, version)
        shares = await self._shares.own(mine)
        reference = await self._references.of(version, spreads, mine, shares)
        if reference is None:
            return None, [], {}
        pairs = {q: (reference.spreads[q], s) for q, s in spreads.items() if q in reference.spreads}
        found = [
            drift.of_spread(ENSEMBLE, quantity, *pair, usual=usual)
            for quantity, pair in pairs.items()
            if (usual := self._usual(progress, quantity)) is not None
        ]
        indexes = {quantity.value: drift.psi_of(*pair) for quantity, pair in pairs.items()}
        expected = reference.expected.get(ENSEMBLE)
        results = drift.of_results(ENSEMBLE, expected, whole) if expected else []
        return reference, [*(f for f in found if f is not None), *results], indexes

    def _usual(self, progress: Progress, quantity: Quantity) -> float | None:
        known = progress.indexes.get(quantity.value, ())
        run = progress.runs.get(drift.key_of(ENSEMBLE, quantity.value), 0)
        return usual_of(known, run, self._settings.clm_usual_windows)


def _metrics_of(found: Tally) -> dict[str, float]:
    return {
        "hit_rate": found.hit_rate,
        "direction_hit_rate": found.direction_hit_rate,
        "log_loss": found.log_loss,
        "brier": found.brier,
        "calibration_error": found.calibration_error,
        "contribution": found.contribution,
        "average_r": found.average_r,
        "profit_factor": found.profit_factor,
        "score": supervisor.score_of(found),
    }
