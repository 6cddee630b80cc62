"""What spans of messages and commits say, in OpenTelemetry's words: written here alone."""

from __future__ import annotations

_Values = dict[str, str | int | float | bool]


def message_sent(subject: str, message_id: str) -> _Values:
    """Attributes of a message that was published."""
    return _message("send", "publish", subject, message_id)


def message_handled(subject: str, message_id: str) -> _Values:
    """Attributes of a message that was handled."""
    return _message("process", "process", subject, message_id)


def committed(schema: str, changes: int) -> _Values:
    """Attributes of a commit of so many changes to a schema."""
    return {
        "db.system.name": "postgresql",
        "db.namespace": schema,
        "db.operation.name": "COMMIT",
        "db.operation.batch.size": changes,
    }


def _message(kind: str, name: str, subject: str, message_id: str) -> _Values:
    return {
        "messaging.system": "nats",
        "messaging.operation.type": kind,
        "messaging.operation.name": name,
        "messaging.destination.name": subject,
        "messaging.message.id": message_id,
    }
