"""Pointers and artifacts as messages of the contract."""

from __future__ import annotations

from quantum.ai.v1 import registry_pb2 as pb

from services.ai.core.artifact_summary import Summary
from services.ai.core.pointers import Pointer, Stage
from services.kit.bus.objects import ObjectInfo
from services.trade.codec import CodecError, time_from_pb, time_to_pb

_STAGES = {
    Stage.CANDIDATE: pb.STAGE_CANDIDATE,
    Stage.SHADOW: pb.STAGE_SHADOW,
    Stage.ACTIVE: pb.STAGE_ACTIVE,
    Stage.RETIRED: pb.STAGE_RETIRED,
}


_READ = {number: stage for stage, number in _STAGES.items()}


def stage_from_pb(number: int) -> Stage:
    """Read a stage; CodecError when it is none."""
    for theirs, ours in _READ.items():
        if int(theirs) == number:
            return ours
    raise CodecError(f"stage {number} is unknown")


def pointer_to_pb(pointer: Pointer) -> pb.ModelPointer:
    """Write a pointer."""
    return pb.ModelPointer(
        version=pointer.version,
        sha256=pointer.sha256,
        previous_version=pointer.previous_version,
        effective_from=time_to_pb(pointer.effective_from),
        changed_by=pointer.changed_by,
        reason=pointer.reason,
        rolled_back_version=pointer.rolled_back_version,
    )


def pointer_from_pb(message: pb.ModelPointer) -> Pointer:
    """Read a pointer; CodecError when it does not say from when on it holds."""
    if not message.HasField("effective_from"):
        raise CodecError("pointer without effective_from")
    return Pointer(
        version=message.version,
        sha256=message.sha256,
        previous_version=message.previous_version,
        effective_from=time_from_pb(message.effective_from),
        changed_by=message.changed_by,
        reason=message.reason,
        rolled_back_version=message.rolled_back_version,
    )


def event_of(stage: Stage, pointer: Pointer) -> pb.ModelPromoted | pb.ModelRolledBack:
    """Return what is told of a pointer that was set."""
    if pointer.rolled_back_version:
        return pb.ModelRolledBack(
            rolled_back_version=pointer.rolled_back_version, pointer=pointer_to_pb(pointer)
        )
    return pb.ModelPromoted(stage=_STAGES[stage], pointer=pointer_to_pb(pointer))


def artifact_to_pb(
    version: str, stage: Stage, summary: Summary, stored: ObjectInfo | None
) -> pb.Artifact:
    """Write what is known of an artifact; `stored` is None for one that ships and is not stored."""
    message = pb.Artifact(
        version=version,
        stage=_STAGES[stage],
        sha256=summary.sha256,
        timeframe=summary.timeframe,
        models=summary.models,
        metrics=summary.metrics,
    )
    if stored is not None:
        message.bytes = stored.size
        message.stored_at.FromDatetime(stored.stored_at)
    if summary.trained_to:
        message.trained_from.CopyFrom(time_to_pb(summary.trained_from))
        message.trained_to.CopyFrom(time_to_pb(summary.trained_to))
    return message
