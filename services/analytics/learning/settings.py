"""Settings of continuous learning."""

from __future__ import annotations

from pydantic import Field

from services.analytics.core.learning.states import HOUR_MS, Rules
from services.kit.settings import ProcessSettings


class LearningSettings(ProcessSettings):
    """Hours and days are market time; the defaults are those of the earlier generation."""

    clm_enabled: bool = False
    """True: models are trained anew, tried in the shadow, promoted and taken back by rule."""
    clm_retrain_hours: float = Field(default=168, gt=0)
    """Longest time between two trainings."""
    clm_shadow_hours: float = Field(default=24, gt=0)
    """Least time in the shadow; three times that is the most."""
    clm_watch_hours: float = Field(default=24, gt=0)
    """Time for which a promoted model is watched."""
    clm_pause_hours: float = Field(default=6, ge=0)
    """Time between the end of one job and the next; doubled by each failure."""
    clm_window_hours: float = Field(default=24, gt=0)
    """Window in which drift is looked for; it counts when it holds in two in a row."""
    clm_usual_windows: int = Field(default=7, ge=1)
    """Windows without drift that must be known before one may be drift."""
    clm_bucket_minutes: int = Field(default=60, ge=1, le=1440)
    """Span over which outcomes are summed up."""
    clm_min_samples: int = Field(default=100, ge=1)
    """Outcomes that a comparison needs."""
    clm_max_failures: int = Field(default=3, ge=1)
    """Failed trainings in a row after which a person has to ask."""
    clm_training_days: float = Field(default=90, gt=0)
    """Candles that are kept and trained on."""
    clm_training_symbols: int = Field(default=32, ge=1)
    """Most symbols that are trained on: those with the most candles."""
    clm_training_every: int = Field(default=12, ge=1)
    """Every n-th bar is a training row."""
    clm_training_folds: int = Field(default=5, ge=2)
    """Spans of the walk forward: the fewer, the less sure is a gain, which promotion asks for."""
    clm_training_rounds: int = Field(default=100, ge=1)
    clm_training_epochs: int = Field(default=4, ge=1)
    clm_trees_only: bool = False
    """True: the two networks are left out, also where torch is installed."""
    clm_training_minutes: float = Field(default=120, gt=0)
    """Wall time that a training may take."""
    clm_sample_days: int = Field(default=7, ge=1)
    """Days for which single outcomes are kept; sums are kept for 30."""
    clm_interval: float = Field(default=2.0, gt=0)
    """Seconds between two looks."""

    @property
    def learning_rules(self) -> Rules:
        """The numbers of the loop."""
        return Rules(
            retrain_every=_ms(self.clm_retrain_hours),
            shadow_least=_ms(self.clm_shadow_hours),
            shadow_most=_ms(3 * self.clm_shadow_hours),
            watch=_ms(self.clm_watch_hours),
            pause=_ms(self.clm_pause_hours),
            samples=self.clm_min_samples,
            failures=self.clm_max_failures,
        )


def _ms(hours: float) -> int:
    return int(hours * HOUR_MS)
