"""Streams, subjects and headers of the bus."""

from __future__ import annotations

from dataclasses import dataclass

HEADER_MESSAGE_ID = "Nats-Msg-Id"
HEADER_TRACE = "traceparent"
HEADER_TYPE = "ce-type"
HEADER_SOURCE = "ce-source"
HEADER_TIME = "ce-time"
"""Market time of the message in milliseconds since 1970, as decimal digits."""
HEADER_HISTORY = "qt-history"
"""Present on candles that only fill windows and make no prediction."""
HEADER_REASON = "qt-reason"
"""Why a message lies in the dead-letter stream."""
HEADER_SUBJECT = "qt-subject"
HEADER_SEQUENCE = "qt-sequence"
HEADER_ORIGINAL_ID = "qt-message-id"
"""Subject, stream sequence and id that a dead letter had before."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What one JetStream stream holds and how it is bounded."""

    name: str
    subjects: tuple[str, ...]
    max_age_seconds: int = 0
    max_messages_per_subject: int = -1
    max_bytes: int = 1 << 30
    discard_new: bool = False
    """True: a full stream refuses; False: it drops the oldest."""
    duplicate_window_seconds: int = 120
    work_queue: bool = False


MARKET = Stream("MARKET", ("quantum.market.>",), max_messages_per_subject=512)
EVENTS = Stream(
    "EVENTS",
    ("quantum.events.>",),
    max_age_seconds=14 * 86_400,
    max_bytes=8 << 30,
    discard_new=True,
)
LIVE = Stream("LIVE", ("quantum.live.>",), max_age_seconds=3_600)
DEADLETTER = Stream("DEADLETTER", ("quantum.deadletter.>",), max_age_seconds=30 * 86_400)
COMMANDS = Stream("COMMANDS", ("quantum.commands.>",), max_age_seconds=7 * 86_400, work_queue=True)
POLICY = Stream(
    "KV_policy",
    ("$KV.policy.>",),
    max_messages_per_subject=64,
    max_bytes=64 << 20,
    discard_new=True,
)
"""The bucket `policy`: the fund's policy and the pointers to models."""
MODES = Stream(
    "KV_modes", ("$KV.modes.>",), max_messages_per_subject=8, max_bytes=16 << 20, discard_new=True
)
"""The bucket `modes`: drain and maintenance of whole services."""
MODELS = Stream(
    "OBJ_models",
    ("$O.models.C.>", "$O.models.M.>"),
    max_messages_per_subject=1_000_000,
    max_bytes=8 << 30,
    discard_new=True,
)
"""The object store `models`: model artifacts."""
TRAINING = Stream(
    "OBJ_training",
    ("$O.training.C.>", "$O.training.M.>"),
    max_age_seconds=7 * 86_400,
    max_messages_per_subject=1_000_000,
    max_bytes=2 << 30,
)
"""The object store `training`: candles for the trainer's jobs, for a week."""
STREAMS = (MARKET, EVENTS, LIVE, DEADLETTER, COMMANDS, POLICY, MODES, MODELS, TRAINING)

_CANDLE = "quantum.market.candle."
ALL_CANDLES = f"{_CANDLE}>"
ALL_OF_MARKET = "quantum.market.>"
"""The one subject of the stream `MARKET`, by which its readers ask for candles: a narrower filter
has the server look through all subjects of the stream for each message it hands out."""
ALL_EVENTS = "quantum.events.>"
ALL_SIGNALS = "quantum.live.signal.generated.>"
ALL_PREDICTIONS = "quantum.live.prediction.>"
ALL_SHADOW_PREDICTIONS = "quantum.live.shadow.>"
ALL_MODEL_CHANGES = "quantum.live.model.>"
ALL_OPPORTUNITIES = "quantum.live.universe.opportunity.>"
ALL_REGIMES = "quantum.live.regime.changed.>"
ALL_CLOSED_POSITIONS = "quantum.events.position.closed.>"
ALL_HEARTBEATS = "quantum.live.service.heartbeat.>"
FUND_POLICY = "$KV.policy.fund"
"""The fund's policy that holds now, a copy of the newest row in PostgreSQL."""
ALL_MODEL_POINTERS = "$KV.policy.model.>"
ACTIVE_MODEL = "$KV.policy.model.active"
"""Pointer to the artifact that makes the signals."""
SHADOW_MODEL = "$KV.policy.model.shadow"
"""Pointer to the artifact that answers beside it."""
MODELS_BUCKET = "models"
"""Object store of model artifacts."""
TRAINING_BUCKET = "training"
"""Object store of the candles that jobs of the trainer are given."""
TRAIN_COMMANDS = "quantum.commands.train.>"
"""Jobs of the trainer."""
TRAINER_CONSUMER = "trainer"
"""Durable consumer on COMMANDS from which the trainer takes its jobs."""
ALL_TRAINING_PROGRESS = "quantum.live.training.progress.>"
"""What the trainer tells of its job."""
ALL_TRAINING_CANCELS = "quantum.live.training.cancel.>"
"""What the trainer is to stop."""
ALL_RECOVERIES_ASKED = "quantum.live.recovery.asked.>"
ALL_RECOVERIES_DONE = "quantum.live.recovery.done.>"
ALL_CANDLES_WANTED = "quantum.live.candles.wanted.>"
"""What readers of candles ask the publisher of a market for."""
ALL_CANDLE_GAPS = "quantum.live.candles.>"
"""What becomes of gaps in candles: they were asked for, or they do not come."""
ALL_OPERATOR_COMMANDS = "quantum.live.operator.command.>"
ALL_ROUNDS_OBSERVED = "quantum.live.round.observed.>"

AI_WORK_CONSUMER = "ai-work"
"""Durable consumer on MARKET that the ai replicas share as their work queue."""
LEDGER_CONSUMER = "analytics-ledger"
"""Durable consumer on EVENTS that the analytics replicas share."""
LEDGER_LIVE_CONSUMER = "analytics-live"
"""Durable consumer on LIVE (signals) that the analytics replicas share."""
LEDGER_PREDICTION_CONSUMER = "analytics-predictions"
"""Durable consumer on LIVE (prediction batches) that the analytics replicas share."""
LEDGER_CANDLE_CONSUMER = "analytics-candles"
"""Durable consumer on MARKET (closed candles) that the analytics replicas share."""
LEDGER_SHADOW_CONSUMER = "analytics-shadow"
"""Durable consumer on LIVE (answers of shadow artifacts) that the analytics replicas share."""
LEDGER_MODEL_CONSUMER = "analytics-models"
"""Durable consumer on LIVE (what became of models) that the analytics replicas share."""
LEDGER_UNIVERSE_CONSUMER = "analytics-universe"
"""Durable consumer on LIVE (scans of the universe) that the analytics replicas share."""
LEDGER_REGIME_CONSUMER = "analytics-regime"
"""Durable consumer on LIVE (changes of the regime) that the analytics replicas share."""
LEDGER_OPERATOR_CONSUMER = "analytics-operators"
"""Durable consumer on LIVE (what operators did) that the analytics replicas share."""
LEDGER_GAP_CONSUMER = "analytics-gaps"
"""Durable consumer on LIVE (gaps in candles) that the analytics replicas share."""


DURABLE_CONSUMERS = (
    (MARKET.name, AI_WORK_CONSUMER, "ai-service"),
    (EVENTS.name, LEDGER_CONSUMER, "analytics-os-service"),
    (LIVE.name, LEDGER_LIVE_CONSUMER, "analytics-os-service"),
    (LIVE.name, LEDGER_PREDICTION_CONSUMER, "analytics-os-service"),
    (LIVE.name, LEDGER_SHADOW_CONSUMER, "analytics-os-service"),
    (LIVE.name, LEDGER_MODEL_CONSUMER, "analytics-os-service"),
    (LIVE.name, LEDGER_UNIVERSE_CONSUMER, "analytics-os-service"),
    (LIVE.name, LEDGER_REGIME_CONSUMER, "analytics-os-service"),
    (LIVE.name, LEDGER_OPERATOR_CONSUMER, "analytics-os-service"),
    (LIVE.name, LEDGER_GAP_CONSUMER, "analytics-os-service"),
    (MARKET.name, LEDGER_CANDLE_CONSUMER, "analytics-os-service"),
)
"""Stream, durable consumer, and the process whose replicas share it."""


def has_candles(subject: str) -> bool:
    """Tell whether a message of the stream `MARKET` holds closed candles."""
    return subject.startswith(_CANDLE)


def round_candles(venue: str, timeframe: str, part: int) -> str:
    """Subject of candles that have just closed; `part` counts the messages of their round.

    As the stream keeps as many messages of each subject, it keeps as many rounds whole.
    """
    return f"{_CANDLE}{venue}.{timeframe}.part{part}"


def past_candles(venue: str, timeframe: str, symbol: str) -> str:
    """Subject of candles of a symbol's past."""
    return f"{_CANDLE}{venue}.{timeframe}.{symbol}"


def event(event_type: str, account: str, key: str) -> str:
    """Subject of a fact; `event_type` like `position.opened`, `key` like a symbol."""
    return f"quantum.events.{event_type}.{account}.{key}"


def account_events(account: str) -> str:
    """Subjects of all facts of an account."""
    return f"quantum.events.*.*.{account}.>"


def signal(symbol: str) -> str:
    """Subject of generated signals."""
    return f"quantum.live.signal.generated.{symbol}"


def prediction(venue: str, timeframe: str) -> str:
    """Subject of prediction batches."""
    return f"quantum.live.prediction.{venue}.{timeframe}"


def shadow_prediction(venue: str, timeframe: str) -> str:
    """Subject of prediction batches of a shadow artifact, which who trades never reads."""
    return f"quantum.live.shadow.{venue}.{timeframe}"


def model_promoted(version: str) -> str:
    """Subject on which ai tells that an artifact was put to a stage."""
    return f"quantum.live.model.promoted.{version}"


def model_rolled_back(version: str) -> str:
    """Subject on which ai tells which artifact a rollback took away."""
    return f"quantum.live.model.rolled_back.{version}"


def model_weight_changed(model: str) -> str:
    """Subject on which ai tells that a model was excluded or takes part again."""
    return f"quantum.live.model.weight_changed.{model}"


def opportunity(venue: str) -> str:
    """Subject of scans of a venue's universe."""
    return f"quantum.live.universe.opportunity.{venue}"


def regime_changed(venue: str) -> str:
    """Subject on which ai tells that the regime of a venue's market changed."""
    return f"quantum.live.regime.changed.{venue}"


def candles_wanted(venue: str, timeframe: str, symbol: str) -> str:
    """Subject on which ai asks for candles that a window lacks."""
    return f"quantum.live.candles.wanted.{venue}.{timeframe}.{symbol}"


def candles_missing(venue: str, timeframe: str, symbol: str) -> str:
    """Subject on which ai tells that candles of a window do not come."""
    return f"quantum.live.candles.missing.{venue}.{timeframe}.{symbol}"


def heartbeat(service: str) -> str:
    """Subject of heartbeats of a process, by its name."""
    return f"quantum.live.service.heartbeat.{service}"


def recovery_asked(service: str) -> str:
    """Subject on which analytics asks the supervisor of a process, by its name, for a recovery."""
    return f"quantum.live.recovery.asked.{service}"


def recovery_done(service: str) -> str:
    """Subject on which a supervisor tells what it did to a process."""
    return f"quantum.live.recovery.done.{service}"


def operator_command(verb: str) -> str:
    """Subject on which a command tells what an operator did; `verb` its first word."""
    return f"quantum.live.operator.command.{verb}"


def service_mode(service: str) -> str:
    """Key of the bucket `modes` that says how a service, by its key, works."""
    return f"$KV.modes.{service}"


def round_observed(account: str) -> str:
    """Subject on which analytics answers a decided round."""
    return f"quantum.live.round.observed.{account}"


def train_command(job_id: str) -> str:
    """Subject of one job of the trainer."""
    return f"quantum.commands.train.{job_id}"


def training_progress(job_id: str) -> str:
    """Subject on which the trainer tells how far a job is."""
    return f"quantum.live.training.progress.{job_id}"


def training_cancel(job_id: str) -> str:
    """Subject on which a job is cancelled."""
    return f"quantum.live.training.cancel.{job_id}"


def deadletter(stream: str, consumer: str) -> str:
    """Subject of messages that kept failing."""
    return f"quantum.deadletter.{stream}.{consumer}"
